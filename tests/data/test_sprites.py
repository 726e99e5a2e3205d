"""Sprites: the images are the formula, depend on every free factor and on no other, and are the same for everyone."""

from __future__ import annotations

import math

import pytest
import torch

from ardtool.data.catalogue import open_data
from ardtool.data.sprites import FACTOR_NAMES, render, sprites
from ardtool.errors import DataError


def pixel(f: list[float], channel: int, row: int, column: int) -> int:
    """One pixel by the formula, written with Python numbers only."""
    x, y = 15.5 + 5 * (2 * f[0] - 1), 15.5 + 5 * (2 * f[1] - 1)
    radius, stretch = 4.5 + 3.5 * f[2], math.exp(0.7 * (f[5] - 0.5))
    distance = math.sqrt(((column - x) / stretch) ** 2 + ((row - y) * stretch) ** 2 + 1e-6)
    mask = 1 / (1 + math.exp(-(radius - distance) / 0.75))
    low, high = (0.15, 0.45, 0.95)[channel], (1.0, 0.55, 0.1)[channel]
    background = 0.05 + 0.12 * f[4]
    return round(255 * (background + (low + (high - low) * f[3] - background) * mask))


def test_images_are_the_formula():
    factors = torch.rand(40, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    images = render(factors)
    for n, (c, i, j) in enumerate((n % 3, (7 * n) % 32, (11 * n + 5) % 32) for n in range(40)):
        assert images[n, c, i, j].item() == pixel(factors[n].tolist(), c, i, j)
    edge = (images.float().flatten(1).std(dim=1) > 5).sum()
    assert edge == 40  # an ellipse is to be seen in every image


def test_chunks_do_not_show():
    factors = torch.rand(1100, 6, generator=torch.Generator().manual_seed(4))
    assert torch.equal(render(factors)[990:1010], render(factors[990:1010]))


@pytest.mark.parametrize("moved", range(6))
def test_every_factor_moves_the_image(moved: int):
    factors = torch.full((2, 6), 0.4)
    factors[1, moved] = 0.6
    first, second = render(factors).float()
    assert (first - second).abs().max() > 5


def test_position_factors_move_along_their_own_direction():
    factors = torch.full((3, 6), 0.5)
    factors[1, 0] = factors[2, 1] = 0.8
    centre, right, down = render(factors)
    assert torch.equal(right, centre.roll(3, dims=2))
    assert torch.equal(down, centre.roll(3, dims=1))


@pytest.mark.parametrize("count", range(2, 7))
def test_only_the_free_factors_vary(count: int):
    data = sprites(count, samples=50)
    held = torch.full((50, 6), 0.5)
    held[:, :count] = data.factors
    assert data.factor_names == FACTOR_NAMES[:count]
    assert data.factors.shape == (50, count)
    assert torch.equal(data.values, render(held))
    assert data.factors.std(dim=0).min() > 0.2
    assert data.value_range == (0.0, 1.0)


def test_draw_depends_on_its_seed_only():
    torch.manual_seed(1)
    first = sprites(samples=20)
    torch.manual_seed(2)
    assert sprites(samples=20).sha256() == first.sha256()
    assert sprites(samples=20, seed=1).sha256() != first.sha256()
    assert torch.equal(sprites(6, samples=20).factors[:, :4], first.factors)


def test_splits_are_two_draws():
    train, test = open_data("sprites"), open_data("sprites", split="test")
    assert (len(train), len(test)) == (10_000, 2_000)
    assert train.shape == (3, 32, 32)
    assert train.values.dtype == torch.uint8
    assert not torch.equal(train.factors[:2000], test.factors)
    assert train.factors.min() >= 0
    assert train.factors.max() <= 1
    assert abs(train.factors.mean().item() - 0.5) < 0.01
    assert torch.corrcoef(train.factors.T).triu(1).abs().max() < 0.05


def test_wrong_requests_are_explained(sentence):
    assert "2 to 6 free factors; found 7" in sentence(sprites, 7, kind=DataError)
    assert "at least 1 sample; found 0" in sentence(sprites, 4, 0, kind=DataError)
    assert "shape (N, 6); found (3, 4)" in sentence(render, torch.zeros(3, 4), kind=DataError)
    assert "factors in [0, 1]" in sentence(render, torch.full((1, 6), 1.5), kind=DataError)
    assert "factors in [0, 1]" in sentence(render, torch.full((1, 6), math.nan), kind=DataError)
