"""Files that a forger makes: payloads, bombs, claims, names that lead elsewhere, descriptions with a right hash and wrong entries."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from ardtool.storage.digest import content_hash

from .makers import giant_png, npy_header, npz, saved, tar_of, zip_of
from .sets import forged_sets

__all__ = ["crafted", "edited_models"]

BOMB = 300 * 2**20


class Bomb:
    """Pickles as a call that leaves a file behind where it is carried out."""

    def __init__(self, canary: Path) -> None:
        self._command = f"touch {canary}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def crafted(contents: dict[str, bytes], canary: Path) -> Iterator[tuple[str, str, bytes]]:
    """Kind, name and content of files that a forger makes."""
    bomb = Bomb(canary)
    for kind in ("torch", "torch stub", "torch old", "torch old stub"):
        yield kind, "payload", saved({"a": torch.ones(2), "x": bomb}, "old" not in kind)
    yield "pickle", "payload", pickle.dumps(bomb)
    yield "array pickle", "payload", pickle.dumps({"data": bomb})
    objects = np.array([bomb], dtype=object)
    buffer = io.BytesIO()
    np.save(buffer, objects, allow_pickle=True)
    yield "npy", "payload", buffer.getvalue()
    for kind in ("npz", "codes npz"):
        yield kind, "payload", npz(mean=objects, x=objects)
    yield "pt2", "payload", zip_of({"archive/data.pkl": pickle.dumps(bomb), "archive/version": b"0"})
    for name in ("../../evil.png", "/tmp/evil.png", "C:\\evil.png", "a/../../evil.png"):
        yield "zip", name, zip_of({name: contents["png"]})
        yield "tar", name, tar_of({name: contents["png"]})
    links = ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "/etc/passwd"), (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, ""))
    for link, target in links:
        yield "tar", f"link {link!r}", tar_of({"0.png": contents["png"]}, (("a.png", target, link),))
    yield "zip", "bomb", zip_of({"0.png": bytes(BOMB)})
    yield "tar", "bomb", tar_of({"0.png": bytes(BOMB)})
    yield "idx.gz", "bomb", gzip.compress(struct.pack(">IIII", 0x803, 2**31 - 1, 28, 28) + bytes(BOMB), 1)
    yield "idx", "claims", struct.pack(">IIII", 0x803, 2**31 - 1, 2**31 - 1, 2**31 - 1)
    yield "npz", "bomb", zip_of({"x.npy": npy_header((2**35, 5)) + bytes(BOMB)})
    yield "codes npz", "bomb", zip_of({"mean.npy": npy_header((2**35, 3)) + bytes(BOMB)})
    yield "npy", "claims", npy_header((10**12, 10**6))
    yield "npy", "negative", npy_header((-3, 5))
    yield "png", "claims", giant_png()
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
    yield from edited_models(contents["model"])
    yield from forged_sets(bomb)
    yield "features", "payload", npz(reference=objects, generated=objects)
    yield "features", "bomb", zip_of({"reference.npy": npy_header((2**35, 5)) + bytes(BOMB)})
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


WRONG = (None, True, -1, 0, 10**12, 1.5, float("inf"), "x", "\x1b[31mred", [], [1], {}, {"x": 1}, [[[]]], "9" * 5000)


def edited_models(content: bytes) -> Iterator[tuple[str, str, bytes]]:
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
