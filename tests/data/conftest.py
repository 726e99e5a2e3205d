"""What the data tests share: real files where this machine has them, and a reader of error sentences."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ardtool.errors import ArdtoolError


@pytest.fixture
def real_data() -> Path:
    """The folder with MNIST/raw and cifar10-jpeg: ARDTOOL_TEST_DATA, else shared/data beside the repository."""
    named = os.environ.get("ARDTOOL_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} is not there (set ARDTOOL_TEST_DATA to the folder that holds MNIST/raw)")
    return folder


@pytest.fixture
def sentence() -> Callable[..., str]:
    """A function that calls another, expects an ardtool error, and returns what the user reads: message and hint."""

    def read(function: Callable, *args: object, kind: type[ArdtoolError] = ArdtoolError, **kwargs: object) -> str:
        with pytest.raises(kind) as caught:
            function(*args, **kwargs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return read


@pytest.fixture
def small_mnist() -> Callable[[Path], None]:
    """A function that writes 12 training images in MNIST's format below a folder."""

    def write(root: Path) -> None:
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True)
        pixels = bytes(k % 251 for k in range(12 * 28 * 28))
        (raw / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, 12, 28, 28) + pixels)

    return write
