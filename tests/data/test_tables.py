"""CSV files: the numbers that were written come back, and what is no number is named by line and column."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from ardtool.data.catalogue import open_data
from ardtool.data.tables import open_table
from ardtool.errors import ConfigError, DataError

VALUES = np.random.default_rng(0).normal(size=(7, 3)) * [1, 1e-12, 1e9]


def write(folder: Path, text: str, name: str = "x.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def lines(separator: str, header: str = "", end: str = "\n") -> str:
    rows = [separator.join(map(repr, row)) for row in VALUES.tolist()]
    return end.join([*([header] if header else []), *rows, ""])


@pytest.mark.parametrize("separator", [",", ";", "\t", ", ", " "])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_numbers_come_back_exactly(tmp_path: Path, separator: str, named: bool, end: str):
    header = separator.join(["mass", "height", "n"]) if named else ""
    data = open_data(str(write(tmp_path, lines(separator, header, end))))
    assert data.values.dtype == torch.float64
    np.testing.assert_array_equal(data.values, VALUES)
    assert (data.name, data.notes, data.value_range) == ("x", (), None)


def test_compressed_with_a_byte_order_mark_quotes_and_no_last_newline(tmp_path: Path):
    with gzip.open(tmp_path / "my x.CSV.GZ", "wb") as file:
        file.write(b'\xef\xbb\xbf"a;b";"c"\n"1.5";2\n"3";-4e2')
    data = open_data(str(tmp_path / "my x.CSV.GZ"))
    assert data.values.tolist() == [[1.5, 2], [3, -400]]
    assert data.name == "my-x"


def test_what_other_programs_write(tmp_path: Path):
    np.savetxt(tmp_path / "a.csv", VALUES, delimiter=",", header="x,y,z")  # a header behind #
    np.testing.assert_allclose(open_table(tmp_path / "a.csv").values, VALUES)
    for text in (",a,b\n0,1.5,2\n1,3,4\n", '"","a","b"\n"Mazda","1.5","2"\n"Fiat, 500",3,4\n'):  # pandas, R: names of rows
        data = open_table(write(tmp_path, text))
        assert data.values.tolist() == [[1.5, 2], [3, 4]]
        assert data.notes == ("The first column has no name and is left out: it names the rows.",)
    data = open_table(write(tmp_path, "0,1,2\n5,6,7\n8,9,9\n"))  # pandas without names
    assert data.values.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert data.notes == ("The first line counts the columns and is no sample.",)
    assert open_table(write(tmp_path, "0,1\n1,0\n")).values.tolist() == [[0, 1], [1, 0]]
    assert open_table(write(tmp_path, "size\n1\n2\n")).shape == (1,)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("a,b\n1,2\n3,x y\n", "line 3, column 2 holds 'x y'; expected a number.", "Fill in a number"),
        ("# made today\n\n1,2\n\n3,\n", "line 5, column 2 is empty; expected a number.", "Fill in a number"),
        ("1,2,\n3,4,\n", "line 1, column 3 is empty; expected a number.", "Fill in a number"),
        ("name,1,2\n3,4,5\n", "line 1, column 1 holds 'name'; expected a number.", "Fill in a number"),
        ("1,5;2\n3;4\n", "line 1, column 1 holds '1,5'; expected a number.", "decimal points"),
        (",a,b\nr,1,2\ns,1,NA\n", "line 3, column 3 holds 'NA'; expected a number.", "Fill in a number"),
        ("1,2\n3,4,5\n", "line 2 has 3 columns; expected 2, as above.", "Give every row 2 numbers."),
        (",a\nr,1\ns,1,2\n", "line 3 has 3 columns; expected 2, as above.", "Give every row 2 numbers."),
        ("1,2\n3\n", "line 2 has 1 column; expected 2, as above.", "Give every row 2 numbers."),
        ("1,2\n1_0,2\n", "line 2, column 1 holds '1_0'; expected a number.", "Fill in a number"),
        ("1,2\n3,nan\n", "1 value is NaN, infinite or beyond float32, the first in row 1, column 1 (counted from 0).", "Remove"),
        ("a,b\n", "holds no samples below its first line.", "one row a sample"),
        ("", "holds no samples.", "one row a sample"),
        ("# nothing\n\n", "holds no samples.", "one row a sample"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str, hint: str, sentence):
    path = write(tmp_path, text)
    found = sentence(open_table, path, kind=DataError)
    assert found.startswith(f"{path}")
    assert said in found
    assert hint in found.partition("Hint: ")[2]


def test_files_that_are_no_text(tmp_path: Path, sentence):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe1\x00,\x002\x00")
    assert "x.csv is no text file in UTF-8." in sentence(open_table, tmp_path / "x.csv", kind=DataError)
    with gzip.open(tmp_path / "x.csv.gz", "wb") as file:
        file.write(b"1,2\n" * 1000)
    for content in ((tmp_path / "x.csv.gz").read_bytes()[:-10], b"1,2\n3,4\n"):
        (tmp_path / "x.csv.gz").write_bytes(content)
        assert "x.csv.gz cannot be read: " in sentence(open_table, tmp_path / "x.csv.gz", kind=DataError)


def test_vectors_have_no_image_size(tmp_path: Path, sentence):
    path = write(tmp_path, "1,2\n3,4\n")
    assert open_data(str(path), image_size="32").notes == ("The samples are vectors, so that the image size has no effect.",)
    assert "is not usable" in sentence(open_data, str(path), image_size="huge", kind=ConfigError)
