"""NumPy files: shapes and values are understood as the table in `arrays.py` says, and never executed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ardtool.data.arrays import open_arrays, resize_images
from ardtool.data.catalogue import open_data
from ardtool.errors import DataError


def save(folder: Path, array: np.ndarray) -> Path:
    path = folder / "data.npy"
    np.save(path, array)
    return path


def ramp(low: float, high: float, dtype: str = "float32", shape: tuple[int, ...] = (6, 4, 5)) -> np.ndarray:
    return np.linspace(low, high, int(np.prod(shape))).reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4", "int64", "uint8", "bool"])
def test_vectors_keep_their_values(tmp_path: Path, dtype: str):
    array = (np.arange(20) * 3 % 7).reshape(5, 4).astype(dtype)
    data = open_arrays(save(tmp_path, array))
    assert data.values.dtype == (torch.float64 if dtype in ("float64", "int64") else torch.float32)  # what holds all values
    assert data.batch(slice(None)).dtype == torch.float32
    assert data.value_range is None
    assert not data.is_images
    assert torch.equal(data.values.double(), torch.from_numpy(array.astype(float)))
    assert data.name == "data"
    assert data.notes == ()
    assert data.scaling is None


def test_memory_order_does_not_matter(tmp_path: Path):
    array = ramp(0, 1)
    assert torch.equal(open_arrays(save(tmp_path, np.asfortranarray(array))).values[:, 0], torch.from_numpy(array))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_last_and_first_are_the_same_images(tmp_path: Path, channels: int):
    last = np.random.default_rng(0).integers(0, 256, (3, 7, 9, channels), dtype=np.uint8)
    data = open_arrays(save(tmp_path, last))
    assert data.values.shape == (3, channels, 7, 9)
    assert data.notes == ()
    assert np.array_equal(data.values.permute(0, 2, 3, 1), last)
    first = open_arrays(save(tmp_path, last.transpose(0, 3, 1, 2)))
    assert torch.equal(first.values, data.values)
    assert first.notes == (f"The shape (3, {channels}, 7, 9) is read as (N, C, H, W): the second dimension holds the channels.",)


def test_ambiguous_channels_are_said(tmp_path: Path):
    data = open_arrays(save(tmp_path, ramp(0, 1, shape=(2, 3, 8, 4))))
    assert data.shape == (4, 3, 8)
    assert "is read as (N, H, W, C)" in data.notes[0]


@pytest.mark.parametrize(
    ("array", "dtype", "low", "high", "note"),
    [
        (ramp(0, 255, "uint8"), torch.uint8, 0, 1, None),
        (ramp(0, 16, "uint8"), torch.uint8, 0, 16 / 255, None),
        (ramp(0, 1.99, "uint8"), torch.uint8, 0, 1, "hold 0 and 1 only"),
        (ramp(0, 1, "float32") > 0.5, torch.uint8, 0, 1, "hold 0 and 1 only"),
        (ramp(0, 255, "int64"), torch.uint8, 0, 1, "whole numbers from 0 to 255"),
        (ramp(0, 1.99, "int32"), torch.float32, 0, 1, None),
        (ramp(0.1, 0.9), torch.float32, 0.1, 0.9, None),
        (ramp(0, 1, "float64"), torch.float32, 0, 1, None),
        (ramp(-1, 1), torch.float32, 0, 1, "lie in [-1, 1] and are mapped to [0, 1] by (x + 1) / 2"),
        (ramp(-0.8, 0.6), torch.float32, 0.1, 0.8, "(x + 1) / 2"),
        (ramp(-0.01, 1), torch.float32, 0, 1, "lie in [-0.01, 1] and are mapped to [0, 1] by (x - min) / (max - min)"),
        (ramp(0, 255), torch.float32, 0, 1, "lie in [0, 255] and are divided by 255"),
        (ramp(0, 200), torch.float32, 0, 200 / 255, "divided by 255"),
        (ramp(0, 16), torch.float32, 0, 1, "lie in [0, 16] and are mapped"),
        (ramp(-1000, 3000, "int16"), torch.float32, 0, 1, "lie in [-1000, 3000] and are mapped"),
        (ramp(0, 65535, "uint16"), torch.float32, 0, 1, "lie in [0, 65535] and are mapped"),
    ],
)
def test_pixels_come_to_0_1(tmp_path: Path, array: np.ndarray, dtype: torch.dtype, low: float, high: float, note: str | None):
    data = open_arrays(save(tmp_path, array))
    batch = data.batch(slice(None))
    assert data.values.dtype == dtype
    assert data.value_range == (0.0, 1.0)
    assert batch.shape == (6, 1, 4, 5)
    assert batch.min().item() == pytest.approx(low, abs=1e-6)
    assert batch.max().item() == pytest.approx(high, abs=1e-6)
    original = torch.from_numpy(array.astype(float)).flatten()
    assert torch.corrcoef(torch.stack([batch.double().flatten(), original]))[0, 1] > 1 - 1e-6  # an affine map and no other
    assert data.notes == () if note is None else (len(data.notes) == 1 and note in data.notes[0])


@pytest.mark.parametrize("key", ["images", "imgs", "x", "X", "data", "arr_0"])
def test_known_keys_come_before_larger_arrays(tmp_path: Path, key: str):
    np.savez(tmp_path / "d.npz", **{key: ramp(0, 1, shape=(6, 3)), "larger": ramp(0, 1, shape=(6, 30))})
    data = open_arrays(tmp_path / "d.npz")
    assert data.shape == (3,)
    assert data.notes == (f"The samples are the array '{key}' of d.npz.",)


def test_the_largest_array_serves_where_no_key_is_known(tmp_path: Path):
    names = np.array(["word"] * 500)[:, None]
    objects = np.empty((900, 1), dtype=object)
    np.savez_compressed(tmp_path / "d.npz", small=ramp(0, 1, shape=(6, 3)), big=ramp(0, 1, shape=(6, 30)), names=names, meta=objects)
    data = open_arrays(tmp_path / "d.npz")
    assert data.shape == (30,)
    assert data.notes == ("The samples are the array 'big' of d.npz.",)


def test_archives_that_do_not_say_are_refused(tmp_path: Path, sentence):
    np.savez(tmp_path / "d.npz", a=ramp(0, 1), b=ramp(0, 2))
    text = sentence(open_arrays, tmp_path / "d.npz", kind=DataError)
    assert "its arrays a and b are equally large" in text
    assert "Name it one of images, imgs, x, X, data, arr_0." in text
    np.savez(tmp_path / "d.npz", a=np.array(["word"]))
    assert "found a, and none of its arrays holds numbers in rows" in sentence(open_arrays, tmp_path / "d.npz", kind=DataError)


@pytest.mark.parametrize("key", ["factors", "latents_values"])
def test_factors_are_read_where_rows_match(tmp_path: Path, key: str):
    factors = np.random.default_rng(1).random((6, 2))
    np.savez(tmp_path / "d.npz", imgs=ramp(0, 1.99, "uint8"), **{key: factors})
    data = open_arrays(tmp_path / "d.npz")
    torch.testing.assert_close(data.factors, torch.from_numpy(factors).float())
    assert data.factor_names == ("factor 0", "factor 1")
    assert data.notes[1] == f"The known factors are the array '{key}'."
    np.savez(tmp_path / "d.npz", imgs=ramp(0, 1.99, "uint8"), **{key: factors[:5]})
    data = open_arrays(tmp_path / "d.npz")
    assert data.factors is None
    assert data.factor_names == ()
    assert data.notes[1] == f"The array '{key}' is not used: its shape (5, 2) is not one row of factors a sample."


def test_factors_that_do_not_vary_are_no_factors(tmp_path: Path):
    factors = np.random.default_rng(1).random((6, 5))
    factors[:, 0], factors[2, 3], factors[:, 4] = 1, np.nan, 7
    np.savez(tmp_path / "d.npz", imgs=ramp(0, 255, "uint8"), latents_values=factors)
    data = open_arrays(tmp_path / "d.npz")
    assert data.factor_names == ("factor 1", "factor 2")
    torch.testing.assert_close(data.factors, torch.from_numpy(factors[:, 1:3]).float())
    assert data.notes[1:] == (
        "The known factors are the array 'latents_values'.",
        "Column 3 of 'latents_values' is no factor: NaN or infinite in some samples (counted from 0).",
        "Columns 0, 4 of 'latents_values' are no factors: the same in all samples (counted from 0).",
    )
    np.savez(tmp_path / "d.npz", imgs=ramp(0, 255, "uint8"), factors=np.ones((6, 2)))
    data = open_arrays(tmp_path / "d.npz")
    assert (data.factors, data.factor_names) == (None, ())
    assert data.notes[1:] == ("The array 'factors' is not used: none of its columns varies.",)


def test_pickles_are_never_loaded(tmp_path: Path, sentence):
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path / "executed").touch, ())

    trap = np.empty((3, 2), dtype=object)
    trap[:] = Trap()
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=trap)
    (tmp_path / "c.npy").write_bytes(b"\x80\x04garbage")
    for name in ("a.npy", "b.npz", "c.npy"):
        text = sentence(open_arrays, tmp_path / name, kind=DataError)
        assert f"{tmp_path / name} holds Python objects (a pickle) or is no NumPy file" in text
        assert "astype('float32')" in text
    assert not (tmp_path / "executed").exists()


def test_truncated_files(tmp_path: Path, sentence):
    path = save(tmp_path, ramp(0, 1))
    path.write_bytes(path.read_bytes()[:-40])
    np.savez(tmp_path / "d.npz", x=ramp(0, 1))
    (tmp_path / "d.npz").write_bytes((tmp_path / "d.npz").read_bytes()[:-40])
    (tmp_path / "empty.npy").write_bytes(b"")
    for damaged in (path, tmp_path / "d.npz", tmp_path / "empty.npy", tmp_path / "none.npy"):
        text = sentence(open_arrays, damaged, kind=DataError)
        assert f"{damaged} cannot be read as a NumPy file:" in text
        assert "numpy.save" in text


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_values_that_are_not_finite_are_counted_and_placed(tmp_path: Path, dtype: str, sentence):
    vectors, pictures = ramp(0, 1, dtype, (9, 4)), ramp(0, 1, dtype)
    vectors[7, 2], vectors[5, 3] = np.inf, np.nan
    pictures[4, 1, 3] = np.nan
    text = sentence(open_arrays, save(tmp_path, vectors), kind=DataError)
    assert "data.npy: 2 values are NaN, infinite or beyond float32, the first in row 5, column 3 (counted from 0)." in text
    assert "Remove these samples or fill in their values." in text
    text = sentence(open_arrays, save(tmp_path, pictures), kind=DataError)
    assert "1 value is NaN, infinite or beyond float32, the first in sample 4, position (0, 1, 3)" in text


def test_values_beyond_float32(tmp_path: Path, sentence):
    array = np.ones((3, 2))
    array[1, 0] = 1e300
    assert "1 value is NaN, infinite or beyond float32, the first in row 1, column 0" in sentence(open_arrays, save(tmp_path, array))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(5), "has the shape (5,); expected vectors (N, D) or images"),
        (np.float32(3), "has the shape (); expected"),
        (np.zeros((2, 3, 4, 5, 1)), "has the shape (2, 3, 4, 5, 1); expected"),
        (np.zeros((2, 7, 8, 9)), "has the shape (2, 7, 8, 9); expected"),
        (np.zeros((0, 4)), "is empty: its shape is (0, 4)"),
        (np.zeros((4, 0)), "is empty: its shape is (4, 0)"),
        (np.array([["a", "b"]]), "holds values of type <U1; expected whole or real numbers"),
        (np.zeros((3, 2), dtype=complex), "holds values of type complex128"),
    ],
)
def test_wrong_shapes_and_types(tmp_path: Path, array: np.ndarray, said: str, sentence):
    path = save(tmp_path, array)
    text = sentence(open_arrays, path, kind=DataError)
    assert f"{path} {said}" in text
    assert "Hint: " in text


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool", "int64"])
@pytest.mark.parametrize("value", [0, 1, 77])
@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 3), (5, 8, 8, 3)])
def test_constant_data_are_refused(tmp_path: Path, dtype: str, value: int, shape: tuple[int, ...], sentence):
    path = save(tmp_path, np.full(shape, value, dtype))
    assert "'data' does not vary: all 5 samples are equal." in sentence(open_data, str(path), kind=DataError)


def test_one_sample_is_refused(tmp_path: Path, sentence):
    path = str(save(tmp_path, ramp(0, 1, shape=(1, 8))))
    assert "'data' holds 1 sample; at least 2 are needed." in sentence(open_data, path)
    assert len(open_data(path, for_training=False)) == 1


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_are_resized_only_when_asked(tmp_path: Path, dtype: str):
    board = np.indices((2, 24, 36)).sum(axis=0) % 2 * (255 if dtype == "uint8" else 1)
    path = save(tmp_path, board.astype(dtype))
    assert open_arrays(path).shape == (1, 24, 36)
    assert open_arrays(path, "24x36").notes == open_arrays(path).notes
    small = open_arrays(path, "8x12")
    assert small.shape == (1, 8, 12)
    assert str(small.values.dtype) == f"torch.{dtype}"
    assert small.notes == ("The images are resized from 24x36 to 8x12 pixels (height x width).",)
    assert (small.batch(slice(None)) - 0.5).abs().max() < 0.15  # smoothed first: a chessboard becomes grey


def test_resizing_keeps_flat_images_and_order():
    levels = torch.arange(1200).remainder(256).to(torch.uint8)[:, None, None, None]
    assert torch.equal(resize_images(levels.expand(-1, 3, 9, 9), (16, 8)), levels.expand(-1, 3, 16, 8))


def test_vectors_have_no_image_size(tmp_path: Path):
    data = open_arrays(save(tmp_path, ramp(0, 1, shape=(6, 4))), "32")
    assert data.shape == (4,)
    assert data.notes == ("The samples are vectors, so that the image size has no effect.",)
