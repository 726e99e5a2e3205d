"""dSprites drawn: pixels are the formula, each factor changes what it should, and which images are equal is known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.path import Path as Outline
from torch import Tensor

from ardtool.data.dsprites_render import GRID, SHAPES, draw, images
from ardtool.errors import DataError

SQUARE, ELLIPSE, HEART = range(3)
AREAS = (19.2**2, math.pi * 12.8 * 7.2, math.pi * 180 * 0.6 * 0.661)


def some(count: int, seed: int = 0) -> Tensor:
    return GRID.factors_of(torch.randint(len(GRID), (count,), generator=torch.Generator().manual_seed(seed)))


def vary(factor: int, **held: int) -> Tensor:
    """Factor values with one factor taking all its values and the others held: shape, scale, orientation, x, y."""
    values = {"shape": 0, "scale": 5, "orientation": 0, "x": 13, "y": 17} | held
    factors = torch.tensor([[0, *values.values()]]).repeat(GRID.sizes[factor], 1)
    factors[:, factor] = torch.arange(GRID.sizes[factor])
    return factors


def masks(factors: Tensor) -> Tensor:
    return draw(factors)[:, 0] == 255


def centres(mask: Tensor) -> Tensor:
    """(x, y) of the pixels' mean, with shape (B, 2)."""
    places = torch.arange(64) + 0.5
    area = mask.sum(dim=(1, 2))
    return torch.stack([(mask.sum(dim=1) * places).sum(dim=1) / area, (mask.sum(dim=2) * places).sum(dim=1) / area], dim=1)


def formula(shape: int, scale: int, orientation: int, i: int, j: int) -> Tensor:
    """One image by the sprite's outline in the image: a polygon with many corners, and matplotlib's rule of what is inside."""
    steps = [2 * math.pi * n / 4000 for n in range(4000)]
    if shape == SQUARE:
        outline = [(-9.6, -9.6), (9.6, -9.6), (9.6, 9.6), (-9.6, 9.6)]
    elif shape == ELLIPSE:
        outline = [(12.8 * math.cos(t), 7.2 * math.sin(t)) for t in steps]
    else:
        bend = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in steps]
        outline = [(9.6 * math.sin(t) ** 3, -1.45 - 0.661 * b) for t, b in zip(steps, bend, strict=True)]
    angle, s = 2 * math.pi * orientation / 39, 0.5 + 0.1 * scale
    x, y = 16 + 32 * i / 31, 16 + 32 * j / 31
    turned = [
        (x + s * (u * math.cos(angle) - v * math.sin(angle)), y + s * (u * math.sin(angle) + v * math.cos(angle))) for u, v in outline
    ]
    pixels = [(column + 0.5, row + 0.5) for row in range(64) for column in range(64)]
    return torch.from_numpy(Outline(turned).contains_points(pixels)).view(64, 64)


def test_images_are_the_formula():
    factors = some(30)
    assert factors[:, 1].unique().tolist() == [SQUARE, ELLIPSE, HEART]
    for (_, *values), mask in zip(factors.tolist(), masks(factors), strict=True):
        assert torch.equal(mask, formula(*values))


@pytest.mark.parametrize("orientation", [5, 14, 25, 34])
def test_the_farthest_corners_are_drawn(orientation: int):
    """The largest square, nearly on its corner."""
    for i, j in ((0, 30), (30, 0), (31, 31), (15, 16)):
        assert torch.equal(masks(torch.tensor([[0, SQUARE, 5, orientation, i, j]]))[0], formula(SQUARE, 5, orientation, i, j))


def test_the_grid_is_that_of_the_file():
    assert len(images()) == len(GRID) == 737_280 and images().shape == (737_280, 1, 64, 64)
    assert SHAPES == ("square", "ellipse", "heart")
    index = torch.tensor([737_279, 0, 40 * 32 * 32])
    assert torch.equal(images()[index], draw(torch.tensor([[0, 2, 5, 39, 31, 31], [0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]])))


def test_bytes_depend_on_the_factors_alone():
    factors = some(300)
    together = draw(factors)
    assert together.dtype == torch.uint8 and together.shape == (300, 1, 64, 64)
    assert together.unique().tolist() == [0, 255]
    order = torch.randperm(300)
    assert torch.equal(draw(factors[order]), together[order])
    assert all(torch.equal(draw(factors[n : n + 1])[0], together[n]) for n in range(0, 300, 10))
    assert torch.equal(draw(factors.int()), together)
    assert draw(factors[:0]).shape == (0, 1, 64, 64)


@pytest.mark.parametrize("shape", range(3))
def test_the_whole_way_is_32_pixels(shape: int):
    for factor, dim in ((4, 2), (5, 1)):
        first, *_, last = masks(vary(factor, shape=shape, orientation=5))
        assert torch.equal(first.roll(32, dims=dim - 1), last)


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE])
@pytest.mark.parametrize(("factor", "name"), [(4, "x"), (5, "y")])
def test_a_position_moves_the_sprite_along_its_own_direction(shape: int, factor: int, name: str):
    found = centres(masks(vary(factor, shape=shape, orientation=7)))
    moved = 16 + 32 * torch.arange(32) / 31
    held = torch.full((32,), 16 + 32 * (17 if name == "x" else 13) / 31)
    expected = torch.stack([moved, held] if name == "x" else [held, moved], dim=1)
    assert (found - expected).abs().max() < 0.25


@pytest.mark.parametrize("shape", range(3))
def test_area_is_that_of_the_shape_times_scale_squared(shape: int):
    """The mean over orientations and positions within a pixel loses most of the rounding."""
    for scale in range(6):
        factors = torch.cat([vary(3, shape=shape, scale=scale, x=x, y=11 * x % 32)[:39] for x in range(0, 32, 4)])
        area = masks(factors).sum(dim=(1, 2)).double()
        assert area.mean().item() == pytest.approx(AREAS[shape] * (0.5 + 0.1 * scale) ** 2, rel=0.005)


@pytest.mark.parametrize("shape", range(3))
def test_turning_keeps_the_area_within_rounding(shape: int):
    """Half a pixel to either side of a straight edge along the pixels is the worst; the square at orientation 0 comes near it."""
    for scale in (0, 5):
        area = masks(vary(3, shape=shape, scale=scale)).sum(dim=(1, 2))
        edge = 4 * math.sqrt(AREAS[shape]) * (0.5 + 0.1 * scale)
        assert (area - AREAS[shape] * (0.5 + 0.1 * scale) ** 2).abs().max() < edge / 2


def test_hearts_are_upright_first_and_turn_clockwise():
    hearts = masks(vary(3, shape=HEART))
    x, y = 16 + 32 * 13 / 31, 16 + 32 * 17 / 31
    for heart, angle in zip(hearts, (2 * math.pi * k / 39 for k in range(40)), strict=True):

        def at(below: float, heart: Tensor = heart, angle: float = angle) -> bool:
            return bool(heart[math.floor(y + below * math.cos(angle)), math.floor(x - below * math.sin(angle))])

        assert at(8.0) and at(0.0) and at(-4.0)  # towards the tip, and below the notch
        assert not at(-8.0) and not at(11.0)


def test_no_sprite_touches_the_border():
    corners = torch.cartesian_prod(torch.arange(1), torch.arange(3), torch.arange(6), torch.arange(39), *[torch.tensor([0, 31])] * 2)
    mask = masks(corners)
    assert len(mask) == 3 * 6 * 39 * 4
    assert not mask[:, [0, 1, -1, -2]].any() and not mask[:, :, [0, 1, -1, -2]].any()


@pytest.mark.parametrize("place", [(0, 0), (31, 8), (14, 21)])
def test_which_images_are_equal(place: tuple[int, int]):
    """Equal images show one shape in one scale and position; they are the first and last orientation, or, of squares and small ellipses,
    orientations that differ by at most 10° or 5° but for the shape's symmetry."""
    factors = torch.cartesian_prod(torch.arange(3), torch.arange(6), torch.arange(40))
    place_columns = torch.tensor(place).expand(len(factors), 2)
    kinds = draw(torch.cat([torch.zeros(len(factors), 1, dtype=torch.int64), factors, place_columns], dim=1)).flatten(1)
    _, kind = kinds.unique(dim=0, return_inverse=True)
    for value in range(int(kind.max()) + 1):
        same = factors[kind == value].tolist()
        (shape, scale), angles = same[0][:2], {360 * k / 39 % 360 for _, _, k in same}
        assert all(each[:2] == [shape, scale] for each in same)
        fold, allowed = {SQUARE: (4, 10.0), ELLIPSE: (2, 5.0 if scale < 2 else 0.0), HEART: (1, 0.0)}[shape]
        period = 360 / fold
        apart = [abs((a - b + period / 2) % period - period / 2) for a in angles for b in angles]
        assert max(apart) <= allowed + 1e-9
    first, last = ((factors[:, 2] == k).nonzero()[:, 0] for k in (0, 39))
    assert torch.equal(kind[first], kind[last])


def test_images_at_different_places_differ():
    held = torch.tensor([[0, SQUARE, 0, 3]]).expand(1024, 4)
    factors = torch.cat([held, torch.cartesian_prod(torch.arange(32), torch.arange(32))], dim=1)
    assert len(draw(factors).flatten(1).unique(dim=0)) == 1024


def test_most_of_any_sample_is_different():
    index = torch.randperm(len(GRID), generator=torch.Generator().manual_seed(1))[:2000]
    factors = GRID.factors_of(index)
    factors[:, 3] %= 39
    factors = factors[factors[:, 1] == HEART].unique(dim=0)
    assert len(draw(factors).flatten(1).unique(dim=0)) == len(factors) > 600


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([[0, 3, 0, 0, 0, 0]], "The factor 'shape' has the values 0 to 2; found 3."),
        ([[0, 0, 0, 40, 0, 0]], "The factor 'orientation' has the values 0 to 39; found 40."),
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
