"""Every kind of file that ardtool reads: how it is read, and small valid content."""

from __future__ import annotations

import contextlib
import gzip
import pickle
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

import ardtool
from ardtool.autoencoder import Posterior
from ardtool.cli.settings import read_yaml
from ardtool.commands.codes_file import read_codes
from ardtool.commands.comparing.runs import find_runs
from ardtool.commands.evaluating.feature_file import read_features
from ardtool.data.catalogue import open_data
from ardtool.data.mnist import read_idx_images
from ardtool.data.numpy_pickle import read_arrays
from ardtool.export.decoder import export_decoder
from ardtool.export.pt2 import read_description
from ardtool.latent.axes import LatentAxes
from ardtool.storage.checkpoint import read_checkpoint, rescue_tensors
from ardtool.storage.model_file import load_model
from ardtool.storage.run_folder import RunFolder, run_named_by
from ardtool.training.config import config_from
from ardtool.training.interruption import Interrupted
from ardtool.training.state import unflatten_state

from .makers import image, npz, saved, tar_of, zip_of
from .sets import SETS, set_seeds

__all__ = ["FOREIGN", "KINDS", "seeds"]

FOREIGN = ("safetensors", "torch", "torch stub", "torch old", "torch old stub", "pickle")  # weights may be infinite; scoring refuses that
Reader = Callable[[Path], Any]


class _Stop:
    """Ends a run after its first epoch, so that it is unfinished."""

    started = stepped = noted = lambda *_: None

    def epoch_ended(self, record: Any) -> None:
        if record.epoch == 1:
            raise Interrupted(2)


def _read_model(path: Path) -> Any:
    model = load_model(path)
    assert model.codes is not None
    return [*vars(model.codes.statistics).values(), model.codes.reference.mean, *model.autoencoder.state_dict().values()]  # type: ignore[attr-defined]


def _read_state(path: Path) -> Any:
    folder = RunFolder(path.parent.parent)
    tensors, record = folder.checkpoint_state(lambda text: None)
    unflatten_state(tensors, record["state"])
    return list(tensors.values())


def _read_data(path: Path) -> Any:
    return open_data(str(path)).batch(torch.arange(1))


def _read_yaml(path: Path) -> Any:
    return config_from(read_yaml(path), str(path)).epochs


def _read_pickled_arrays(path: Path) -> Any:
    with open(path, "rb") as file:
        return list(read_arrays(str(path), file).values())


def _read_run(path: Path) -> Any:
    return [run.seconds for run in find_runs([path.parent]).runs]


KINDS: dict[str, tuple[str, Reader]] = {
    "model": ("model.safetensors", _read_model),
    "state": ("run/resume/state.safetensors", _read_state),
    "run": ("run/model.safetensors", _read_run),
    "metrics": ("run/metrics.json", _read_run),
    "latest": ("runs/latest", run_named_by),
    "safetensors": ("weights.safetensors", read_checkpoint),
    "torch": ("weights.pt", read_checkpoint),
    "torch stub": ("weights.pt", rescue_tensors),
    "torch old": ("old.pt", read_checkpoint),
    "torch old stub": ("old.pt", rescue_tensors),
    "pickle": ("weights.pkl", rescue_tensors),
    "pt2": ("decoder.pt2", read_description),
    "npy": ("x.npy", _read_data),
    "npz": ("x.npz", _read_data),
    "codes npz": ("codes.npz", lambda path: read_codes(path, LatentAxes((3,))).posterior().mean),
    "codes csv": ("codes.csv", lambda path: read_codes(path, LatentAxes((3,))).posterior().mean),
    "zip": ("images.zip", _read_data),
    "tar": ("images.tar.gz", _read_data),
    "png": ("images/0.png", lambda path: _read_data(path.parent)),
    "jpeg": ("photos/0.jpg", lambda path: _read_data(path.parent)),
    "idx": ("idx3-ubyte", read_idx_images),
    "idx.gz": ("idx3-ubyte.gz", read_idx_images),
    "array pickle": ("batch", _read_pickled_arrays),
    "yaml": ("run.yaml", _read_yaml),
    "features": ("features.npz", lambda path: read_features(path).sets),
    **SETS,
}


def seeds(folder: Path) -> dict[str, bytes]:
    """Small valid content for every kind."""
    draw = np.random.default_rng(0)
    np.save(folder / "x.npy", draw.normal(size=(40, 5)).astype(np.float32))
    settings = {"data": str(folder / "x.npy"), "latent": 3, "epochs": 2, "batch_size": 10, "arch": "linear"}
    run = ardtool.train(**settings, out=folder / "run")
    ardtool.evaluate(run.model, data=str(folder / "x.npy"), metrics=["mse"])
    with contextlib.suppress(Interrupted):
        ardtool.train(**settings, out=folder / "stopped", observer=_Stop())  # pyright: ignore[reportArgumentType]
    model, metrics = Path(run.model).read_bytes(), (folder / "run" / "metrics.json").read_bytes()
    state = next((folder / "stopped" / "resume").glob("state.safetensors")).read_bytes()
    weights = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3), "step": torch.tensor(3)}
    images = draw.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    idx = struct.pack(">IIII", 0x803, 5, 28, 28) + images.tobytes()
    batch = {"data": draw.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [1, 2, 3, 4]}
    return {
        "model": model,
        "run": model,
        "metrics": metrics,
        "state": state,
        "latest": b"x-ard-vae-L3-s0\n",
        "safetensors": save(weights),
        "torch": saved(weights, True),
        "torch stub": saved({"model": weights, "epoch": 3}, True),
        "torch old": saved(weights, False),
        "torch old stub": saved({"model": weights, "epoch": 3}, False),
        "pickle": pickle.dumps({"a": torch.ones(2, 2), "b": [1, 2.0, "x"]}),
        "pt2": _pt2(),
        "npy": (folder / "x.npy").read_bytes(),
        "npz": npz(x=draw.normal(size=(40, 5))),
        "codes npz": npz(mean=draw.normal(size=(20, 3)), log_variance=draw.normal(size=(20, 3))),
        "codes csv": b"axis_0,axis_1,axis_2\n" + b"\n".join(b"%.3f,%.3f,%.3f" % tuple(row) for row in draw.normal(size=(20, 3)).tolist()),
        "zip": zip_of({f"a/{k}.png": image(images[k], "PNG") for k in range(5)}),
        "tar": tar_of({f"a/{k}.png": image(images[k], "PNG") for k in range(5)}),
        "png": image(images[0], "PNG"),
        "jpeg": image(images[0], "JPEG"),
        "idx": idx,
        "idx.gz": gzip.compress(idx, mtime=0),
        "array pickle": pickle.dumps(batch),
        "features": npz(reference=draw.normal(size=(20, 3)), generated=draw.normal(size=(20, 3))),
        **set_seeds(folder),
        "yaml": b"data: sprites\nlatent: 16\nbeta: 0.5\nepochs: 3\nmethod: ard-vae\n",
    }


def _pt2() -> bytes:
    class Line(torch.nn.Module):
        latent_shape, input_shape = (3,), (4,)

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 4)

        def encode(self, x: torch.Tensor) -> Posterior:
            return Posterior(x[:, :3], None)

        def decode(self, z: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
            return self.layer(z)

    with tempfile.TemporaryDirectory() as folder:
        export_decoder(Line().eval(), Posterior(torch.randn(19, 3)), Path(folder) / "d.pt2", "pt2", {})  # pyright: ignore[reportArgumentType]
        return (Path(folder) / "d.pt2").read_bytes()
