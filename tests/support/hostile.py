"""Hostile files: small valid ones of every kind that ardtool reads, what bit flips and forgers make of them, and what reading them did.

    python tests/support/hostile.py --each 140 --seed 1

reads that many mutants of every kind in one process and prints a table: how many were read, how many refused, seconds, memory.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import pickle
import random
import re
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load, save

import ardtool
from ardtool.autoencoder import Posterior
from ardtool.cli.settings import read_yaml
from ardtool.commands.codes_file import read_codes
from ardtool.commands.comparing.runs import find_runs
from ardtool.commands.inspect import inspect
from ardtool.data.catalogue import open_data
from ardtool.data.mnist import read_idx_images
from ardtool.data.numpy_pickle import read_arrays
from ardtool.errors import ArdtoolError
from ardtool.export.decoder import export_decoder
from ardtool.export.pt2 import read_description
from ardtool.latent.axes import LatentAxes
from ardtool.storage.checkpoint import read_checkpoint, rescue_tensors
from ardtool.storage.digest import content_hash
from ardtool.storage.model_file import load_model
from ardtool.storage.run_folder import RunFolder, run_named_by
from ardtool.training.config import config_from
from ardtool.training.interruption import Interrupted
from ardtool.training.state import unflatten_state

__all__ = ["KINDS", "Outcome", "crafted", "mutants", "read_all", "seeds"]

CANARY = "canary"
BOMB = 300 * 2**20
FOREIGN = ("safetensors", "torch", "torch stub", "torch old", "torch old stub", "pickle")  # weights may be infinite; scoring refuses that
Reader = Callable[[Path], Any]


class Bomb:
    """Pickles as a call that leaves a file behind where it is carried out."""

    def __init__(self, canary: Path) -> None:
        self._command = f"touch {canary}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


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
        "safetensors": _safetensors(weights),
        "torch": _saved(weights, True),
        "torch stub": _saved({"model": weights, "epoch": 3}, True),
        "torch old": _saved(weights, False),
        "torch old stub": _saved({"model": weights, "epoch": 3}, False),
        "pickle": pickle.dumps({"a": torch.ones(2, 2), "b": [1, 2.0, "x"]}),
        "pt2": _pt2(),
        "npy": (folder / "x.npy").read_bytes(),
        "npz": _npz(x=draw.normal(size=(40, 5))),
        "codes npz": _npz(mean=draw.normal(size=(20, 3)), log_variance=draw.normal(size=(20, 3))),
        "codes csv": b"axis_0,axis_1,axis_2\n" + b"\n".join(b"%.3f,%.3f,%.3f" % tuple(row) for row in draw.normal(size=(20, 3)).tolist()),
        "zip": _zip({f"a/{k}.png": _image(images[k], "PNG") for k in range(5)}),
        "tar": _tar({f"a/{k}.png": _image(images[k], "PNG") for k in range(5)}),
        "png": _image(images[0], "PNG"),
        "jpeg": _image(images[0], "JPEG"),
        "idx": idx,
        "idx.gz": gzip.compress(idx, mtime=0),
        "array pickle": pickle.dumps(batch),
        "yaml": b"data: sprites\nlatent: 16\nbeta: 0.5\nepochs: 3\nmethod: ard-vae\n",
    }


def _safetensors(tensors: dict[str, Any]) -> bytes:
    return save(tensors)


def _saved(value: Any, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


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


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _image(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar(members: dict[str, bytes], links: tuple[tuple[str, str, bytes], ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return buffer.getvalue()


# what becomes of them


def mutants(content: bytes, count: int, draw: random.Random) -> Iterator[bytes]:
    """Flipped bits, cuts, insertions, repeated and swapped pieces, numbers replaced by extreme ones."""
    changes = (_flip, _flip, _cut, _insert, _repeat, _swap, _extreme, _extreme, _text)
    for _ in range(count):
        mutant = bytearray(content)
        for _ in range(draw.choice((1, 1, 1, 2, 8))):
            if mutant:
                draw.choice(changes)(mutant, draw)
        yield bytes(mutant)


def _where(mutant: bytearray, draw: random.Random) -> int:
    """A place, near the beginning or the end more often than not: headers lie there."""
    size = len(mutant)
    return draw.choice((draw.randrange(min(size, 64)), size - 1 - draw.randrange(min(size, 64)), draw.randrange(size)))


def _flip(mutant: bytearray, draw: random.Random) -> None:
    mutant[_where(mutant, draw)] ^= 1 << draw.randrange(8)


def _cut(mutant: bytearray, draw: random.Random) -> None:
    del mutant[_where(mutant, draw) :]


def _insert(mutant: bytearray, draw: random.Random) -> None:
    place = _where(mutant, draw)
    mutant[place:place] = draw.randbytes(draw.randint(1, 32))


def _repeat(mutant: bytearray, draw: random.Random) -> None:
    place = _where(mutant, draw)
    piece = mutant[place : place + draw.randint(1, 200)]
    mutant[place:place] = piece * draw.randint(1, 4)


def _swap(mutant: bytearray, draw: random.Random) -> None:
    place, other = sorted((_where(mutant, draw), _where(mutant, draw)))
    mutant[place:other] = mutant[place:other][::-1]


def _extreme(mutant: bytearray, draw: random.Random) -> None:
    place = _where(mutant, draw)
    number = draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1))
    packed = number.to_bytes(8, draw.choice(("little", "big")))
    mutant[place : place + 8] = packed if draw.random() < 0.5 else packed[:4]


def _text(mutant: bytearray, draw: random.Random) -> None:
    """Replace a number that is written in digits, as in headers and JSON."""
    found = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", bytes(mutant[:20_000]))]
    if found:
        first, last = draw.choice(found)
        words = (b"-1", b"0", b"1000000000000", b"NaN", b"null", b"[]", b"1e400", b"true", b'"x"', b"{}", b"99999999999999999999999")
        mutant[first:last] = draw.choice(words)


def crafted(contents: dict[str, bytes], canary: Path) -> Iterator[tuple[str, str, bytes]]:
    """Kind, name and content of files that a forger makes."""
    bomb = Bomb(canary)
    for kind in ("torch", "torch stub", "torch old", "torch old stub"):
        yield kind, "payload", _saved({"a": torch.ones(2), "x": bomb}, "old" not in kind)
    yield "pickle", "payload", pickle.dumps(bomb)
    yield "array pickle", "payload", pickle.dumps({"data": bomb})
    objects = np.array([bomb], dtype=object)
    buffer = io.BytesIO()
    np.save(buffer, objects, allow_pickle=True)
    yield "npy", "payload", buffer.getvalue()
    for kind in ("npz", "codes npz"):
        yield kind, "payload", _npz(mean=objects, x=objects)
    yield "pt2", "payload", _zip({"archive/data.pkl": pickle.dumps(bomb), "archive/version": b"0"})
    for name in ("../../evil.png", "/tmp/evil.png", "C:\\evil.png", "a/../../evil.png"):
        yield "zip", name, _zip({name: contents["png"]})
        yield "tar", name, _tar({name: contents["png"]})
    links = ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "/etc/passwd"), (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, ""))
    for link, target in links:
        yield "tar", f"link {link!r}", _tar({"0.png": contents["png"]}, (("a.png", target, link),))
    yield "zip", "bomb", _zip({"0.png": bytes(BOMB)})
    yield "tar", "bomb", _tar({"0.png": bytes(BOMB)})
    yield "idx.gz", "bomb", gzip.compress(struct.pack(">IIII", 0x803, 2**31 - 1, 28, 28) + bytes(BOMB), 1)
    yield "idx", "claims", struct.pack(">IIII", 0x803, 2**31 - 1, 2**31 - 1, 2**31 - 1)
    yield "npz", "bomb", _zip({"x.npy": _header((2**35, 5)) + bytes(BOMB)})
    yield "codes npz", "bomb", _zip({"mean.npy": _header((2**35, 3)) + bytes(BOMB)})
    yield "npy", "claims", _header((10**12, 10**6))
    yield "npy", "negative", _header((-3, 5))
    yield "png", "claims", _giant_png()
    for header in (
        {"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
        {"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"__metadata__": {"ardtool": "{" * 100_000}},
        {"__metadata__": {"ardtool": "[" * 100_000, "run": "[" * 100_000}},
        {"__metadata__": {"ardtool": '{"format": 1e999}'}},
    ):
        text = json.dumps(header).encode()
        for kind in ("safetensors", "model", "run", "state"):
            yield kind, "header", struct.pack("<Q", len(text)) + text + bytes(16)
    for kind in ("safetensors", "model", "run", "state"):
        yield kind, "length", struct.pack("<Q", 2**62) + b"{}"
        yield kind, "deep", struct.pack("<Q", 200_000) + b"[" * 200_000
    yield from _edited_models(contents["model"])
    yield "yaml", "tag", f"!!python/object/apply:os.system ['touch {canary}']".encode()
    yield (
        "yaml",
        "laughs",
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + k, 98 + k, b",".join([b"*%c" % (97 + k)] * 9)) for k in range(9)),
    )
    yield "yaml", "deep", b"[" * 50_000
    yield "metrics", "deep", b"[" * 200_000
    yield "metrics", "number", b'{"schema": ' + b"9" * 200_000 + b"}"
    for name in (b"../../etc\n", b"/\n", b"\x00", b"x" * 10_000):
        yield "latest", "name", name


def _header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _giant_png() -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    size = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(2**20))) + chunk(b"IEND", b"")


WRONG = (None, True, -1, 0, 10**12, 1.5, float("inf"), "x", "\x1b[31mred", [], [1], {}, {"x": 1}, [[[]]], "9" * 5000)


def _edited_models(content: bytes) -> Iterator[tuple[str, str, bytes]]:
    """A model file with every entry of its description replaced by values of other types, its hash made right again."""

    (length,) = struct.unpack("<Q", content[:8])
    description = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["ardtool"])
    tensors = load(content)
    for number, place in enumerate(_places(description)):
        for step in range(3):
            edited = json.loads(json.dumps(description))
            inner = edited
            for name in place[:-1]:
                inner = inner[name]
            inner[place[-1]] = WRONG[(number * 3 + step) % len(WRONG)]
            edited.pop("content_sha256", None)
            edited["content_sha256"] = content_hash(tensors, edited)
            yield "model", ".".join(map(str, place)), save(tensors, {"ardtool": json.dumps(edited)})


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for name, inner in entries:
        yield (*above, name)
        yield from _places(inner, (*above, name))


# what reading them did


@dataclass
class Outcome:
    """What reading files of a kind did."""

    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    memory: int = 0
    problems: list[str] = field(default_factory=list)
    sentences: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> int:
        return self.read + self.refused + len(self.problems)


def read_all(folder: Path, each: int, seed: int, kinds: list[str] | None = None, with_crafted: bool = True) -> dict[str, Outcome]:
    """Read `each` mutants of every kind, and what forgers make, in this process; what is wrong is listed as problems."""
    watch = _Watch()
    made = folder / "made"
    made.mkdir()
    contents = seeds(made)
    canary = folder / CANARY
    outcomes = {kind: Outcome() for kind in (kinds or KINDS)}
    draw = random.Random(seed)
    files = [(kind, f"mutant {k}", mutant) for kind in outcomes for k, mutant in enumerate(mutants(contents[kind], each, draw))]
    more = (file for file in crafted(contents, canary) if file[0] in outcomes) if with_crafted else ()
    for number, (kind, name, content) in enumerate([*((kind, "itself", contents[kind]) for kind in outcomes), *files]):
        _read_one(folder / str(number), kind, name, content, contents, outcomes[kind], watch)
    for number, (kind, name, content) in enumerate(more):
        _read_one(folder / f"c{number}", kind, name, content, contents, outcomes[kind], watch)
    if canary.exists():
        next(iter(outcomes.values())).problems.append("a payload was carried out")
    return outcomes


def _read_one(folder: Path, kind: str, name: str, content: bytes, contents: dict[str, bytes], outcome: Outcome, watch: _Watch) -> None:
    place, read = KINDS[kind]
    path = folder / place
    path.parent.mkdir(parents=True)
    if kind in ("png", "jpeg"):  # beside a whole one
        (path.parent / f"1{path.suffix}").write_bytes(_image(np.eye(28, dtype=np.uint8), "PNG" if kind == "png" else "JPEG"))
    if kind == "metrics":
        (path.parent / "model.safetensors").write_bytes(contents["model"])
    path.write_bytes(content)
    reset_peak()
    began = time.perf_counter()
    try:
        for reader in (read, inspect) if kind not in ("latest", "metrics") else (read,):
            with warnings.catch_warnings(), watch:
                warnings.simplefilter("ignore")
                value = reader(path)
            if reader is read and kind not in FOREIGN:
                _check_numbers(value)
        outcome.read += 1
    except ArdtoolError as error:
        outcome.refused += 1
        if name == "itself":
            outcome.problems.append(f"a whole file is refused: {error}")
        outcome.sentences[str(error).replace(str(folder), "…")[:70]] += 1
        if "\n" in str(error) or not error.message.isprintable() or len(str(error)) > 2000:
            outcome.problems.append(f"{name}: no plain line: {str(error)[:200]!r}")
            outcome.refused -= 1
    except BaseException as error:
        outcome.problems.append(f"{name}: {type(error).__name__}: {str(error)[:150]}")
        if isinstance(error, KeyboardInterrupt):
            raise
    seconds = time.perf_counter() - began
    outcome.memory = max(outcome.memory, peak_memory())
    outcome.seconds += seconds
    outcome.slowest = max(outcome.slowest, seconds)
    if seconds > 5:
        outcome.problems.append(f"{name}: took {seconds:.1f} s")
    if watch.seen:
        outcome.problems.append(f"{name}: side effects: {watch.seen[:3]}")
        watch.seen.clear()
    shutil.rmtree(folder)


def _check_numbers(value: Any) -> None:
    """What was read is finite."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]:
        if isinstance(each, np.ndarray) and each.dtype.kind == "f":
            assert np.isfinite(each).all(), "numbers that are not finite were read"
        if isinstance(each, torch.Tensor) and each.is_floating_point():
            assert bool(torch.isfinite(each.float()).all()), "numbers that are not finite were read"


class _Watch:
    """Notes what reading a file must not do: start programs, open connections, write files."""

    BANNED = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect", "ctypes.dlopen", "os.remove", "os.rename")

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._on = False
        sys.addaudithook(self._hook)

    def __enter__(self) -> None:
        self._on = True

    def __exit__(self, *_: object) -> None:
        self._on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+") and not isinstance(arguments[0], int)
        if event in self.BANNED or (writes and not str(arguments[0]).endswith((".pyc", "/dev/null")) and ".pyc." not in str(arguments[0])):
            self.seen.append(f"{event} {arguments[:2]}")


def reset_peak() -> None:
    """Let `peak_memory` count from now on."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory() -> int:
    """The most memory that this process has held since `reset_peak`, in MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--each", type=int, default=140)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS))
    parser.add_argument("--sentences", action="store_true")
    options = parser.parse_args()
    os.environ["ARDTOOL_CACHE"] = "off"
    with tempfile.TemporaryDirectory() as folder:
        outcomes = read_all(Path(folder), options.each, options.seed, options.kinds)
    print("| files | number | read | refused | wrong | seconds | slowest | peak MiB |\n|---|---|---|---|---|---|---|---|")
    for kind, one in outcomes.items():
        cells = (kind, one.files, one.read, one.refused, len(one.problems), f"{one.seconds:.1f}", f"{one.slowest:.2f}", one.memory)
        print(f"| {' | '.join(map(str, cells))} |")
    total = sum(one.files for one in outcomes.values())
    wrong = sum(len(one.problems) for one in outcomes.values())
    print(f"\n{total} files, {wrong} wrong; the process peaked at {max(one.memory for one in outcomes.values())} MiB while it read")
    for kind, one in outcomes.items():
        for problem in one.problems[:12]:
            print(f"WRONG {kind}: {problem}")
        if options.sentences:
            for sentence, count in one.sentences.most_common(6):
                print(f"      {kind}: {count} × {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
