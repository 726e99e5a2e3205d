"""Pictures keep their pixels, arrays their numbers, and a failed write leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ardtool.errors import StorageError
from ardtool.storage.images import enlargement, image_grid, near_square, save_array, save_gif, save_picture, to_uint8


def random_images(count: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_every_level_survives_the_way_to_floats_and_back(value_range: tuple[float, float]) -> None:
    low, high = value_range
    levels = torch.arange(256).reshape(1, 1, 16, 16)
    back = to_uint8(levels / 255 * (high - low) + low, value_range)
    assert back.shape == (1, 16, 16, 1)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back.reshape(-1), np.arange(256))


def test_pixels_are_rounded_clamped_and_channels_go_last() -> None:
    images = torch.tensor([254.6 / 255, -3.0, 7.0, float("nan"), 0.4 / 255, 0.6 / 255]).reshape(1, 6, 1, 1)
    assert to_uint8(images, (0.0, 1.0)).tolist() == [[[[255, 0, 255, 0, 0, 1]]]]


def test_halves_are_rounded_up_wherever_they_lie() -> None:
    halves = (torch.arange(255, dtype=torch.float64) + 0.5).reshape(1, 1, 15, 17)
    assert to_uint8(halves, (0.0, 255.0)).flatten().tolist() == list(range(1, 256))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_type_with_a_gradient_is_taken(dtype: torch.dtype) -> None:
    images = torch.ones(2, 3, 4, 5, dtype=dtype, requires_grad=True)
    assert to_uint8(images, (0.0, 1.0)).shape == (2, 4, 5, 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("scale", [1, 3])
def test_a_cell_of_the_grid_holds_the_image(channels: int, scale: int) -> None:
    images = random_images(5, 6, 7, channels)
    grid = image_grid(images, columns=3, padding=2, scale=scale)
    assert grid.size == (2 + 3 * (7 * scale + 2), 2 + 2 * (6 * scale + 2))
    pixels = np.asarray(grid).reshape(grid.height, grid.width, -1)
    shown = images if channels in (3, 4) else images[..., :1]
    for index, image in enumerate(shown):
        top, left = 2 + index // 3 * (6 * scale + 2), 2 + index % 3 * (7 * scale + 2)
        cell = pixels[top : top + 6 * scale, left : left + 7 * scale]
        for row in range(scale):
            np.testing.assert_array_equal(cell[row::scale, ::scale], image)
    assert (pixels[:2] == 255).all()
    assert (pixels[-6 * scale :, -7 * scale :] == 255).all()  # the empty cell


@pytest.mark.parametrize("side", [1, 8, 16, 28, 32, 40, 64, 65, 256])
def test_small_images_become_cells_of_about_eighty_pixels(side: int) -> None:
    factor = enlargement(side, side)
    assert factor == 1 if side > 64 else 60 <= side * factor <= 100


def test_grids_are_nearly_square() -> None:
    assert [near_square(count, 10, 10) for count in (1, 4, 5, 9, 16, 100)] == [1, 2, 3, 3, 4, 10]
    assert near_square(16, 40, 10) > near_square(16, 10, 10) > near_square(16, 10, 40)


def test_no_images_are_a_sentence() -> None:
    with pytest.raises(StorageError, match="no images"):
        image_grid(random_images(0, 4, 4, 1))


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".webp"])
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_formats_give_the_pixels_back(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = random_images(1, 9, 8, channels)[0]
    pixels[..., 3:] = 255
    save_picture(Image.fromarray(pixels), tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as found:
        np.testing.assert_array_equal(np.asarray(found.convert("RGB")), pixels[..., :3])


@pytest.mark.parametrize("suffix", [".jpg", ".gif"])
def test_transparency_becomes_white(tmp_path: Path, suffix: str) -> None:
    save_picture(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as found:
        assert np.asarray(found.convert("RGB")).min() >= 250


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    picture = Image.new("L", (4, 4))
    with pytest.raises(StorageError, match=r"'\.bmp'; expected one of \.png, \.jpg, \.gif, \.webp"):
        save_picture(picture, tmp_path / "a.bmp")
    with pytest.raises(StorageError, match=r"no suffix; expected one of \.gif, \.webp"):
        save_gif([picture], tmp_path / "a")
    with pytest.raises(StorageError, match=r"expected one of \.npz, \.npy, \.csv"):
        save_array(tmp_path / "a.pkl", z=np.zeros(3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_animation_goes_forth_and_back_for_ever(tmp_path: Path, count: int) -> None:
    levels = [20 * index for index in range(count)]
    save_gif([Image.new("L", (6, 5), level) for level in levels], tmp_path / "a.gif", seconds_per_frame=0.2)
    with Image.open(tmp_path / "a.gif") as found:
        shown = []
        for index in range(getattr(found, "n_frames", 1)):
            found.seek(index)
            shown.append(found.convert("L").getpixel((0, 0)))
            assert count == 1 or found.info["duration"] == 200
        assert shown == levels + levels[-2:0:-1]
        assert found.info.get("loop") == 0


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    save_array(tmp_path / "a.npz", z=z, labels=np.arange(4))
    save_array(tmp_path / "a.npy", z=z)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert sorted(found) == ["labels", "z"]
        np.testing.assert_array_equal(found["z"], z)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), z)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_csv_has_a_header_and_exact_numbers(tmp_path: Path, dtype: type) -> None:
    z = (np.random.default_rng(0).normal(size=(5, 2)) * 1e3).astype(dtype)
    save_array(tmp_path / "a.csv", columns=["axis_3", "axis_7"], z=z)
    header, *lines = (tmp_path / "a.csv").read_text().splitlines()
    assert header == "axis_3,axis_7"
    np.testing.assert_array_equal(np.array([line.split(",") for line in lines]).astype(dtype), z)


def test_csv_columns_are_numbered_where_no_names_are_given(tmp_path: Path) -> None:
    save_array(tmp_path / "a.csv", z=np.zeros((1, 2)))
    assert (tmp_path / "a.csv").read_text() == "column_0,column_1\n0.0,0.0\n"


@pytest.mark.parametrize(
    ("name", "columns", "arrays", "sentence"),
    [
        ("a.csv", None, {"z": np.zeros((2, 3, 4))}, "the array is 2×3×4"),
        ("a.csv", ["axis_0"], {"z": np.zeros((2, 3))}, "1 names for 3 columns"),
        ("a.npy", None, {"x": np.zeros(2), "y": np.zeros(2)}, r"holds one array, found 2 \(x, y\)"),
        ("a.npz", None, {"x": np.array([{}])}, "'x' holds Python objects"),
    ],
)
def test_what_a_format_cannot_hold_is_said(
    tmp_path: Path, name: str, columns: list[str] | None, arrays: dict[str, np.ndarray], sentence: str
) -> None:
    with pytest.raises(StorageError, match=sentence):
        save_array(tmp_path / name, columns=columns, **arrays)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_picture(Image.new("L", (4, 4), 7), path)
    before = path.read_bytes()

    def full(self: Image.Image, target: Path, **_: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StorageError, match="No space left on device"):
        save_picture(Image.new("L", (4, 4), 9), path)
    with pytest.raises(StorageError, match="No space left on device"):
        save_gif([Image.new("L", (4, 4), 9)], tmp_path / "b.gif")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot make the folder"):
        save_array(tmp_path / "file" / "a.npz", z=np.zeros(2))
