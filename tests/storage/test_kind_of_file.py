"""Every safetensors file is known as one, however long its header is."""

import json
import struct

import pytest

from ardtool.storage.header import kind_of_file


@pytest.mark.parametrize("length", [*range(64, 64 + 256 * 8, 8), 0x3C20, 0x0A3C])
def test_the_length_of_the_header_is_not_taken_for_a_magic_number(tmp_path, length):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + json.dumps({"__metadata__": {}}).ljust(length).encode())
    assert kind_of_file(path) == "safetensors"
