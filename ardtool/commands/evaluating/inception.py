"""Features of the Inception network that FID is defined by (Heusel et al., 2017): pool_3, F = 2048, of the TensorFlow graph of 2015-12-05.

torch-fidelity has the network and the weights in PyTorch's format. Images of any size go through it as they did through the graph:

    grey images      repeated to RGB
    299×299 pixels   bilinear by TensorFlow 1's rule: pixel i of the larger image is read at i · in/out, no half pixel, no smoothing
    values           (v − 128) / 128 of bytes v

Nothing is downloaded. The weights' pickle is read by torch's weights-only loader; the network gets a copy that holds tensors alone, since
its own loading would execute whatever the file says.
"""

from __future__ import annotations

import io
import textwrap
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError, DataError, ModelFileError
from ...latent.jacobian import inference_mode
from ...storage.checkpoint import read_tensors
from .features import BYTES, Extractor
from .hashes import file_sha256

__all__ = ["InceptionFeatures"]

PUBLISHED = "6726825d"  # how the hash of the published weights begins, which is part of their name
OTHER_NAMES = ("pt_inception-2015-12-05-6726825d.pth",)  # under which pytorch-fid keeps the same file
LAYER, WIDTH = "2048", 2048
ROWS_ON_CPU, ROWS = 8, 128
OTHERWISE = "`--features pixels` needs no network."


class InceptionFeatures(Extractor):
    """pool_3 of Inception, for images with one or three channels.

    Arguments:
        weights: the file of weights; None for the one in torch's cache.
        example: some of the samples.
        device: where the network computes, in float32 without TF32.

    Raises:
        ConfigError: torch-fidelity is not installed, or there are no weights.
        DataError: the samples are no grey or RGB images.
        ModelFileError: the file is damaged, holds other tensors, or would run code.
    """

    width = WIDTH

    def __init__(self, weights: Path | None, example: Tensor, device: torch.device | str = "cpu") -> None:
        if example.ndim != 4 or example.shape[1] not in (1, 3):
            found = f"images with {example.shape[1]} channels" if example.ndim == 4 else "vectors"
            raise DataError(f"The Inception network takes grey or RGB images; the data are {found}.", OTHERWISE)
        address = _address()
        path = _find(weights, address)
        self.sha256 = file_sha256(path)
        self.label = "inception" if self.sha256.startswith(PUBLISHED) else f"inception:{self.sha256[:8]}"
        self.device = torch.device(device)
        self.network = _network(path).to(self.device)
        self.rows = ROWS
        if self.device.type == "cpu":
            self.rows = ROWS_ON_CPU
            self.network.to(memory_format=torch.channels_last)  # a quarter faster

    def __call__(self, samples: Tensor) -> Tensor:
        images = samples.to(self.device).expand(-1, 3, -1, -1)
        with inference_mode(self.network):
            return self.network(images)[0]

    def provenance(self) -> dict[str, Any]:
        return {
            "extractor": f"InceptionV3 of torch-fidelity {version('torch-fidelity')}, layer {LAYER}",
            "weights_sha256": self.sha256,
            "input": f"{BYTES}; grey repeated to RGB",
            "resize": "299x299, bilinear by TensorFlow 1's rule: no half pixel, no antialiasing",
            "convention": "(byte - 128) / 128, float32 without TF32",
        }


def _address() -> str:
    """Where the weights are published."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    except ImportError as error:
        hint = f"`pip install torch-fidelity`. {OTHERWISE}"
        raise ConfigError("Features of the Inception network need torch-fidelity, which is not installed.", hint) from error
    return URL_INCEPTION_V3


def _find(named: Path | None, address: str) -> Path:
    """The file of weights that the user names, else the one in torch's cache."""
    name = address.rpartition("/")[2]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    places = [folder / each for each in (name, *OTHER_NAMES)] if named is None else [Path(named).expanduser()]
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        return found
    if named is not None:
        raise ConfigError(f"--inception-weights {named} is no file.", f"The published weights are {address} (96 MB). {OTHERWISE}")
    raise ConfigError(
        f"The weights of the Inception network are not there: {places[0]} does not exist.",
        f"Download {address} (96 MB) to that place, or name the file with --inception-weights. {OTHERWISE}",
    )


def _network(path: Path) -> nn.Module:
    """The network with the weights of a file; nothing that the file says is executed."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    plain = io.BytesIO()
    torch.save(read_tensors(path), plain)
    plain.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception", [LAYER], feature_extractor_weights_path=plain)
    except RuntimeError as error:
        problem = next((line.strip() for line in str(error).splitlines()[1:] if line.strip()), str(error))
        raise ModelFileError(
            f"{path} does not hold the weights of FID's Inception network: {textwrap.shorten(problem, 120, placeholder=' …')}",
            f"Get {_address()}; torchvision's Inception is another network.",
        ) from error
