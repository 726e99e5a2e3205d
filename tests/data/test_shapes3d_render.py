"""3D Shapes drawn: each factor changes its own part of the image, the geometry is that of a room seen by a camera, all images differ."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ardtool.data.shapes3d_render import GRID, SHAPES, SKY, draw, images, weight_table
from ardtool.errors import DataError

FLOOR, WALL, OBJECT, SKIES = range(4)
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)


@pytest.fixture(scope="module")
def table() -> Tensor:
    """Weights with shape (scale, shape, orientation, label, row, column)."""
    return weight_table(torch.device("cpu")).view(8, 4, 15, 4, 64, 64)


def some(count: int, seed: int = 0) -> Tensor:
    return GRID.factors_of(torch.randint(len(GRID), (count,), generator=torch.Generator().manual_seed(seed)))


def test_the_grid_is_that_of_the_file():
    assert len(images()) == len(GRID) == 480_000 and images().shape == (480_000, 3, 64, 64)
    assert SHAPES == ("cube", "cylinder", "sphere", "capsule")
    index = torch.tensor([479_999, 0, 15])
    assert torch.equal(images()[index], draw(torch.tensor([[9, 9, 9, 7, 3, 14], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]])))


def test_the_table_has_the_size_that_the_module_states(table: Tensor):
    assert table.dtype == torch.uint8 and table.numel() == 7_864_320


def test_bytes_depend_on_the_factors_alone():
    factors = some(200)
    together = draw(factors)
    assert together.dtype == torch.uint8 and together.shape == (200, 3, 64, 64)
    order = torch.randperm(200)
    assert torch.equal(draw(factors[order]), together[order])
    assert all(torch.equal(draw(factors[n : n + 1])[0], together[n]) for n in range(0, 200, 10))
    assert torch.equal(draw(factors.int()), together)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(draw(factors), together)
    assert draw(factors[:0]).shape == (0, 3, 64, 64)


def test_a_pixel_is_the_sum_of_its_parts(table: Tensor):
    factors = some(20)
    full = [(255, 0, 0), (255, 153, 0), (204, 255, 0), (51, 255, 0), (0, 255, 102)]
    full += [(0, 255, 255), (0, 102, 255), (51, 0, 255), (204, 0, 255), (255, 0, 153)]
    for n, (values, image) in enumerate(zip(factors.tolist(), draw(factors), strict=True)):
        parts = table[values[3], values[4], values[5]].int()
        for row, column in ((3 * n, 31), (40, 3 * n), (20 + n, 25)):
            weight = parts[:, row, column].tolist()
            colours = [full[values[FLOOR]], full[values[WALL]], full[values[OBJECT]], SKY]
            expected = [round(sum(w * colour[channel] for w, colour in zip(weight, colours, strict=True)) / 255) for channel in range(3)]
            assert image[:, row, column].tolist() == expected


@pytest.mark.parametrize("label", [FLOOR, WALL, OBJECT])
def test_a_hue_changes_its_own_part_and_keeps_the_shading(table: Tensor, label: int):
    factors = some(100, seed=label)
    changed = factors.clone()
    changed[:, label] = (changed[:, label] + 1 + torch.arange(100) % 9) % 10
    first, second = draw(factors), draw(changed)
    weight = table[factors[:, 3], factors[:, 4], factors[:, 5]]
    differs = (first != second).any(dim=1)
    assert not differs[weight[:, label] == 0].any()
    pure = (weight[:, label] > 0) & (weight.int().sum(dim=1) == weight[:, label])
    assert pure.sum(dim=(1, 2)).min() > 40
    assert differs[pure].all()
    assert torch.equal(first.amax(dim=1)[pure], weight[:, label][pure])
    assert torch.equal(second.amax(dim=1)[pure], weight[:, label][pure])


def test_floor_wall_and_sky_lie_over_each_other_and_the_object_stays_inside(table: Tensor):
    assert (table[..., SKIES, 0, :] == 255).all() and (table[..., FLOOR, -1, :] > 0).all()
    assert (table[..., WALL, :, [0, -1]].amax(dim=-2) > 0).all()
    edge = torch.cat([table[..., OBJECT, [0, -1], :].flatten(3), table[..., OBJECT, :, [0, -1]].flatten(3)], dim=-1)
    assert not edge.any()
    seen = table[..., SKIES, :, :] == 255
    drawn = draw(torch.tensor([[1, 2, 3, 4, CUBE, 0]]))[0]
    assert drawn[:, seen[4, CUBE, 0]].unique(dim=1).flatten().tolist() == list(SKY)


def test_pixels_are_covered_by_their_parts(table: Tensor):
    """Shading is between 0.6 and 1, and rounding adds half a step for each part."""
    total = table.int().sum(dim=3)
    assert total.max() <= 255 + 1 and total.min() >= 0.6 * 255 - 2


def test_the_object_grows_with_scale(table: Tensor):
    pixels = (table[:, :, :, OBJECT] > 0).sum(dim=(-1, -2))
    assert (pixels.diff(dim=0) > 0).all()
    assert ((pixels[-1] / pixels[0]) > (1.25 / 0.75) ** 2 * 0.9).all()


def test_the_camera_sees_round_shapes_alike_from_everywhere(table: Tensor):
    outline = table[:, :, :, OBJECT] > 0
    for shape in (CYLINDER, SPHERE, CAPSULE):
        assert torch.equal(outline[:, shape], outline[:, shape, :1].expand(-1, 15, -1, -1))
        assert torch.equal(outline[:, shape], outline[:, shape].flip(-1))
    assert (outline[:, CUBE].diff(dim=1).flatten(2).any(dim=2)).all()


def test_the_room_from_the_other_side_is_mirrored(table: Tensor):
    seen = table > 0
    assert torch.equal(seen.flip(2), seen.flip(-1))


def test_the_sphere_is_where_the_camera_projects_it(table: Tensor):
    """Around the image's middle column; its topmost and lowest points are tangents from the camera, 1.5 above the floor, aimed at 0.9."""
    for i, scale in enumerate(0.75 + 0.5 * torch.arange(8).double() / 7):
        radius = 0.75 * scale.item()
        rows = (table[i, SPHERE, 7, OBJECT] > 0).any(dim=1).nonzero()[:, 0]
        down = math.atan2(1.5 - radius, 3.3) - math.atan2(0.6, 3.3)
        spread = math.asin(radius / math.hypot(3.3, 1.5 - radius))
        top, bottom = (32 + 32 * math.tan(down + sign * spread) / 0.55 for sign in (-1, 1))
        assert rows[0].item() == pytest.approx(top - 0.5, abs=0.8)
        assert rows[-1].item() == pytest.approx(bottom - 0.5, abs=0.8)


def lambert(point: list[float], normal: list[float]) -> float:
    towards = [lamp - p for lamp, p in zip((0.9, -2.6, 4.5), point, strict=True)]
    cosine = sum(a * b for a, b in zip(towards, normal, strict=True)) / math.hypot(*towards) / math.hypot(*normal)
    return min(1.0, 0.6 + 0.45 * max(0.0, cosine))


@pytest.mark.parametrize(("row", "column"), [(30, 32), (36, 24), (27, 40), (60, 10), (55, 59)])
@pytest.mark.parametrize("orientation", [0, 3, 11])
def test_light_follows_lambert(table: Tensor, orientation: int, row: int, column: int):
    """On the largest sphere and on the floor, by the ray through the pixel's middle, in Python numbers alone."""
    angle, length = math.radians(30 * (orientation - 7) / 7), math.hypot(3.3, 0.6)
    right, ahead = 0.55 * (column + 0.5 - 32) / 32, 0.55 * (32 - row - 0.5) / 32
    forward, height = (3.3 + 0.6 * ahead) / length, (3.3 * ahead - 0.6) / length
    ray = [math.cos(angle) * right - math.sin(angle) * forward, math.sin(angle) * right + math.cos(angle) * forward, height]
    eye = [3.3 * math.sin(angle), -3.3 * math.cos(angle), 1.5]
    radius = 0.75 * 1.25
    to_eye = [eye[0], eye[1], eye[2] - radius]
    square, half = sum(d * d for d in ray), sum(d * o for d, o in zip(ray, to_eye, strict=True))
    below_root = half**2 - square * (sum(o * o for o in to_eye) - radius**2)
    label = OBJECT if below_root > 0 else FLOOR
    distance = (-half - math.sqrt(below_root)) / square if label == OBJECT else -eye[2] / ray[2]
    point = [o + distance * d for o, d in zip(eye, ray, strict=True)]
    normal = [point[0], point[1], point[2] - radius] if label == OBJECT else [0.0, 0.0, 1.0]
    assert label == (OBJECT if row < 50 else FLOOR)
    assert table[7, SPHERE, orientation, label, row, column].item() == pytest.approx(255 * lambert(point, normal), abs=1)


@pytest.mark.parametrize("orientation", [2, 4, 10, 12])
def test_the_corner_of_the_room_moves_as_the_camera_goes_round(table: Tensor, orientation: int):
    """The walls are lit differently: the light jumps where the camera sees their corner, here at the height 1 of its 2.05."""
    angle, pitch = math.radians(30 * (orientation - 7) / 7), math.atan2(0.6, 3.3)
    x, y = math.copysign(3.6, -angle), 3.6
    right, ahead, above = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x + 3.3, 1.0 - 1.5
    depth = ahead * math.cos(pitch) - above * math.sin(pitch)
    up = above * math.cos(pitch) + ahead * math.sin(pitch)
    column, row = 32 + 32 * right / depth / 0.55, math.floor(32 - 32 * up / depth / 0.55)
    parts = table[0, CAPSULE, orientation, :, row].int()
    pure = parts.sum(dim=0) == parts[WALL]
    jump = parts[WALL].diff().abs() * (pure[1:] & pure[:-1])
    found = (jump > 8).nonzero()[:, 0] + 1
    assert 0 < len(found) <= 2 and (found - column).abs().max() < 1.1


def test_all_geometries_differ_whatever_the_hues(table: Tensor):
    """With one hue for everything only shading and sky tell geometries apart; with hues that differ, the hues do: see above."""
    assert len(table.flatten(0, 2).flatten(1).unique(dim=0)) == 480
    geometries = torch.cartesian_prod(torch.arange(8), torch.arange(4), torch.arange(15))
    for hue in (0, 5):
        drawn = draw(torch.cat([torch.full((480, 3), hue), geometries], dim=1))
        assert len(drawn.flatten(1).unique(dim=0)) == 480


def test_all_images_of_a_sample_differ():
    index = torch.randperm(len(GRID), generator=torch.Generator().manual_seed(1))[:600]
    drawn = draw(GRID.factors_of(index)).flatten(1)
    assert len(drawn.unique(dim=0)) == 600


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([[0, 10, 0, 0, 0, 0]], "The factor 'wall hue' has the values 0 to 9; found 10."),
        ([[0, 0, 0, 0, 0, -1]], "The factor 'orientation' has the values 0 to 14; found -1."),
        ([[0, 0, 0]], "The data have 6 factors; found values with shape (1, 3)."),
    ],
)
def test_wrong_factors_are_refused(sentence, wrong: list[list[int]], words: str):
    assert words in sentence(draw, torch.tensor(wrong), kind=DataError)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_draws_the_same_bytes():
    factors = some(5000)
    drawn = draw(factors.cuda())
    assert drawn.device.type == "cuda" and torch.equal(drawn.cpu(), draw(factors))
