"""Folders and archives of images: every mode and size arrives as the eye would see it, in the same order every time."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ardtool.data import image_files as module
from ardtool.data.images import open_images, parse_size
from ardtool.errors import ConfigError, DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def noise(height: int, width: int, *channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)


def halves(left: tuple[int, ...], right: tuple[int, ...], mode: str, height: int = 16, width: int = 16) -> Image.Image:
    """An image whose left half has one colour and whose right half another."""
    image = Image.new(mode, (width, height), left)
    image.paste(right, (width // 2, 0, width, height))
    return image


def pack(folder: Path, archive: Path, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(archive, "w", compression) as out:
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file():
                out.write(path, path.relative_to(folder))
    return archive


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine colour images in nested folders, six of 20×30 pixels, with things beside them that are no images."""
    root = tmp_path / "photos"
    for number in range(9):
        place = root / ("a" if number % 2 else "b/c")
        place.mkdir(parents=True, exist_ok=True)
        size = (20, 30) if number < 6 else (10 + number, 40)
        Image.fromarray(noise(*size, 3, seed=number)).save(place / f"{number}.{'png' if number % 3 else 'BMP'}")
    for junk in ("a/readme.txt", "a/.hidden.png", ".cache/x.png", "__MACOSX/a/0.png"):
        (root / junk).parent.mkdir(parents=True, exist_ok=True)
        (root / junk).write_bytes(b"no image")
    return root


def test_mixed_sizes_take_the_commonest(photos: Path):
    data = open_images(photos)
    assert data.values.shape == (9, 3, 20, 30)
    assert data.values.dtype == torch.uint8
    assert data.value_range == (0.0, 1.0)
    assert data.name == "photos"
    assert data.notes == ("The images have 4 sizes, most often 20x30 pixels (height x width): 6 of 9, and are resized to 20x30.",)


def test_order_is_that_of_sorted_paths_and_pixels_are_exact(photos: Path):
    values = open_images(photos).values
    expected = torch.from_numpy(np.stack([noise(20, 30, 3, seed=number) for number in (1, 3, 5)])).permute(0, 3, 1, 2)
    assert torch.equal(values[:3], expected)  # a/1, a/3, a/5 come first and need no resizing


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_equals_folder(photos: Path, tmp_path: Path, compression: int):
    archive = pack(photos, tmp_path / "photos.zip", compression)
    assert open_images(archive).sha256() == open_images(photos).sha256()
    assert open_images(archive).name == "photos"


def test_threads_do_not_show(photos: Path, monkeypatch: pytest.MonkeyPatch):
    expected = open_images(photos).sha256()
    monkeypatch.setattr(module, "BLOCK", 2)
    for workers in (1, 7):
        monkeypatch.setattr(module.os, "cpu_count", lambda workers=workers: workers)
        assert open_images(photos).sha256() == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [((64, 64), (64, 64)), ((65, 65), (64, 64)), ((200, 100), (64, 32)), ((30, 300), (6, 64)), ((1, 500), (1, 64))],
)
def test_automatic_size_keeps_the_aspect(tmp_path: Path, found: tuple[int, int], expected: tuple[int, int]):
    Image.fromarray(noise(*found)).save(tmp_path / "x.png")
    data = open_images(tmp_path)
    assert data.values.shape == (1, 1, *expected)
    said = f"The images have {found[0]}x{found[1]} pixels (height x width) and are resized to {expected[0]}x{expected[1]}."
    assert data.notes == ((said,) if found != expected else ())


def test_size_asked_for(photos: Path):
    assert open_images(photos, "12").shape == (3, 12, 12)
    assert open_images(photos, "8x24").shape == (3, 8, 24)


def test_shrinking_averages(tmp_path: Path):
    board = np.indices((128, 128)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    values = open_images(tmp_path, "16").values.float()
    assert (values - 127.5).abs().max() < 2  # without smoothing first a chessboard becomes black or white


@pytest.mark.parametrize("size", [(9, 12), (700, 900)])
def test_jpeg_keeps_what_is_to_be_seen(tmp_path: Path, size: tuple[int, int]):
    halves(RED, BLUE, "RGB", *size).save(tmp_path / "x.jpg", quality=95, subsampling=0)
    values = open_images(tmp_path, "32").values[0].float()
    for part, colour in ((values[:, :, :12], RED), (values[:, :, 20:], BLUE)):
        assert (part.mean(dim=(1, 2)) - torch.tensor(colour)).abs().max() < 5


def test_all_grey_gives_one_channel_and_16_bits_are_scaled(tmp_path: Path):
    Image.fromarray(noise(16, 16)).save(tmp_path / "a.png")
    Image.fromarray(noise(16, 16) > 127).save(tmp_path / "b.png")
    steps = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    for name in ("c.png", "d.tif", "e.pgm"):
        Image.fromarray(steps).save(tmp_path / name)
    values = open_images(tmp_path).values
    assert values.shape == (5, 1, 16, 16)
    assert torch.equal(values[0, 0], torch.from_numpy(noise(16, 16)))
    assert set(values[1].unique().tolist()) == {0, 255}
    for image in values[2:]:
        assert torch.equal(image.flatten(), torch.arange(256).to(torch.uint8))


def test_one_colour_image_makes_all_rgb(tmp_path: Path):
    Image.fromarray(noise(16, 16)).save(tmp_path / "a.png")
    halves(RED, BLUE, "RGB").save(tmp_path / "b.png")
    data = open_images(tmp_path)
    assert data.values.shape == (2, 3, 16, 16)
    assert all(torch.equal(channel, torch.from_numpy(noise(16, 16))) for channel in data.values[0])
    assert data.notes == ("1 of 2 images are grey and are read as RGB like the others.",)


def test_a_model_says_how_many_channels_and_what_size(tmp_path: Path):
    for folder, image in (("grey", Image.fromarray(noise(6, 7))), ("colour", Image.fromarray(noise(6, 7, 3)))):
        (tmp_path / folder).mkdir()
        image.save(tmp_path / folder / "x.png")
    data = open_images(tmp_path / "grey", (6, 7), channels=3)
    assert all(torch.equal(channel, torch.from_numpy(noise(6, 7))) for channel in data.values[0])
    assert data.notes == ("1 of 1 images are grey and are read as RGB, as the model takes them.",)
    data = open_images(pack(tmp_path / "colour", tmp_path / "c.zip"), (6, 7), channels=1)
    expected = noise(6, 7, 3) @ np.array([0.299, 0.587, 0.114])  # luminance, ITU-R 601
    assert (data.values[0, 0].double() - torch.from_numpy(expected)).abs().max() <= 1
    assert data.notes == ("1 of 1 images have colour and are read as grey, as the model takes them.",)
    halves((200, 0, 0, 0), (0, 0, 255, 255), "RGBA").save(tmp_path / "colour" / "x.png")
    assert open_images(tmp_path / "colour", (16, 16), channels=1).values[0, 0, 5, 2] == 255  # transparent is white


@pytest.mark.parametrize("kind", ["RGBA", "palette", "LA"])
def test_transparent_parts_are_white(tmp_path: Path, kind: str):
    image = halves((200, 0, 0, 0), (0, 0, 255, 255), "RGBA")
    if kind == "palette":
        image = halves((0,), (1,), "P")
        image.putpalette([200, 0, 0, 0, 0, 255])
        image.save(tmp_path / "x.png", transparency=0)
    elif kind == "LA":
        halves((50, 0), (90, 255), "LA").save(tmp_path / "x.png")
    else:
        image.save(tmp_path / "x.png")
    data = open_images(tmp_path)
    right = (90, 90, 90) if kind == "LA" else BLUE
    assert data.values[0, :, 5, 2].tolist() == [255, 255, 255]
    assert tuple(data.values[0, :, 5, 12].tolist()) == right
    assert data.notes == ("1 of 1 images have transparency and are laid on white.",)


def test_half_transparency_is_blended(tmp_path: Path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "x.png")
    assert (open_images(tmp_path).values.float() - 127).abs().max() <= 1


def test_palette_and_cmyk_become_rgb(tmp_path: Path):
    palette = halves((0,), (1,), "P")
    palette.putpalette([*RED, *BLUE])
    palette.save(tmp_path / "a.gif")
    halves((0, 255, 255, 0), (255, 255, 0, 0), "CMYK").save(tmp_path / "b.tif")
    data = open_images(tmp_path)
    assert data.values.shape == (2, 3, 16, 16)
    assert data.notes == ()
    for image in data.values:
        assert tuple(image[:, 5, 2].tolist()) == RED
        assert tuple(image[:, 5, 12].tolist()) == BLUE


def test_exif_rotation_is_applied_and_counts_for_the_size(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn clockwise by 90 degrees to show": left becomes top
    halves(RED, BLUE, "RGB", 24, 32).save(tmp_path / "x.jpg", exif=exif, quality=95, subsampling=0)
    values = open_images(tmp_path).values[0].int()
    assert values.shape == (3, 32, 24)
    assert (values[:, 4, 12] - torch.tensor(RED)).abs().max() < 8
    assert (values[:, 28, 12] - torch.tensor(BLUE)).abs().max() < 8


def test_floating_point_images_are_sent_to_npy(tmp_path: Path, sentence):
    Image.fromarray(noise(8, 8).astype(np.float32)).save(tmp_path / "x.tif")
    text = sentence(open_images, tmp_path, kind=DataError)
    assert "'x.tif' cannot be decoded: its pixels are floating-point numbers" in text
    assert ".npy" in text


def test_gigantic_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    Image.fromarray(noise(50, 50)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    text = sentence(open_images, tmp_path, kind=DataError)
    assert "the image 'bomb.png' is too large" in text
    assert "Shrink or remove it." in text


def test_gigantic_archive_members_are_not_unpacked(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    monkeypatch.setattr(module, "LARGEST_FILE", 100)
    text = sentence(open_images, pack(photos, tmp_path / "p.zip"), kind=DataError)
    assert "the image 'a/1.png' cannot be decoded: it unpacks to" in text
    assert "expected at most 100" in text


@pytest.mark.parametrize("zipped", [False, True])
def test_no_images(tmp_path: Path, zipped: bool, sentence):
    root = tmp_path / "empty"
    root.mkdir()
    (root / "notes.txt").write_text("nothing here")
    (root / ".thumb.png").write_bytes(b"hidden")
    source = pack(root, tmp_path / "empty.zip") if zipped else root
    text = sentence(open_images, source, kind=DataError)
    assert f"{source} holds no images; expected files that end in .avif, .bmp," in text
    assert "Name the folder or .zip" in text


def test_broken_archive(tmp_path: Path, sentence):
    (tmp_path / "x.zip").write_bytes(b"not a zip")
    text = sentence(open_images, tmp_path / "x.zip", kind=DataError)
    assert f"{tmp_path / 'x.zip'} is not a readable .zip archive:" in text
    assert "unpack it into a folder" in text


def test_sizes_are_read():
    assert [parse_size(text) for text in ("auto", "64", "48x64", " 48X64 ")] == [None, (64, 64), (48, 64), (48, 64)]


@pytest.mark.parametrize("text", ["", "big", "64x", "0", "7", "64x5000", "-3", "64x64x3", "6.4"])
def test_wrong_sizes_are_explained(text: str, sentence):
    said = sentence(parse_size, text, kind=ConfigError)
    assert f"The image size '{text}' is not usable; expected auto, N or HxW" in said
    assert "--image-size 48x64" in said


@pytest.mark.slow
def test_real_archive(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    archive = real_data / "cifar10-jpeg" / "train.zip"
    if not archive.is_file():
        pytest.skip(f"real images: {archive} is not there")
    monkeypatch.setenv("ARDTOOL_CACHE", str(tmp_path))
    told: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = (open_images(archive, tell=told.append) for _ in range(2))
    assert told == ["decoding 50,000 images once; the next run reads the cache"]
    assert torch.equal(first.values, second.values)
    assert first.values.shape == (50_000, 3, 32, 32)
    assert first.notes == second.notes == ()
    deviations, means = torch.std_mean(first.values[::5].double() / 255, dim=(0, 2, 3))
    torch.testing.assert_close(means, torch.tensor([0.4914, 0.4822, 0.4465]).double(), atol=2e-3, rtol=0)  # as is known of CIFAR-10
    torch.testing.assert_close(deviations, torch.tensor([0.2470, 0.2435, 0.2616]).double(), atol=4e-3, rtol=0)
    with zipfile.ZipFile(archive) as source:
        names = sorted(name for name in source.namelist() if name.endswith(".jpg"))
        for index in (0, 1, 25_000, 49_999):
            with Image.open(io.BytesIO(source.read(names[index]))) as image:
                assert np.array_equal(first.values[index].permute(1, 2, 0), np.asarray(image))
