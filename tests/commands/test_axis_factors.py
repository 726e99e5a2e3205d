"""Axes named after the factor that they follow: known codes, known verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ardtool
from ardtool.commands.axis_factors import axis_factors
from ardtool.commands.opening import open_model
from ardtool.data.dataset import DataSet
from ardtool.data.factors import DrawnImages, FactorGrid

CPU = torch.device("cpu")
NAMES = ("turn", "hue", "fixed")


class Identity(ardtool.ModulePair):
    """Codes are the data."""

    def __init__(self, shape: tuple[int, ...], latent: int) -> None:
        super().__init__(nn.Flatten(), nn.Unflatten(1, shape), shape, latent)


def named(values: Tensor, factors: Tensor) -> list[str | None] | None:
    """The names of the axes of a model whose codes are these values (N, L)."""
    data = DataSet("known", values, factors=factors, factor_names=NAMES[: factors.shape[1]])
    return axis_factors(open_model(Identity(tuple(values.shape[1:]), values[0].numel())), data, CPU, 0)


def test_axes_bear_the_name_of_the_factor_that_they_follow_most(generator: torch.Generator):
    factors = torch.randint(5, (3000, 3), generator=generator)
    factors[:, 2] = 4
    turn, hue = factors[:, 0].float(), factors[:, 1].float()
    noise = torch.randn(3000, 2, generator=generator)
    values = torch.stack([hue + 0.1 * noise[:, 0], noise[:, 1], turn, -7 * turn + 0.2 * hue, torch.zeros(3000)], dim=1)
    assert named(values, factors) == ["hue", None, "turn", "turn", None]


@pytest.mark.parametrize(("right", "name"), [(0.6, "turn"), (0.4, None)])
def test_a_fifth_of_the_entropy_is_asked_for(generator: torch.Generator, right: float, name: str | None):
    """Codes that tell one of two values with so much of an advantage: I / H = 1 − H₂((1 − right) / 2), 0.28 for 0.6, 0.12 for 0.4."""
    factors = torch.randint(2, (10_000, 2), generator=generator)
    told = torch.where(torch.rand(10_000, generator=generator) < right, factors[:, 0], torch.randint(2, (10_000,), generator=generator))
    assert named(told[:, None].float(), factors) == [name]


def test_few_samples_make_no_names(generator: torch.Generator):
    """Twenty bins and ten values of 100 samples share 0.37 of the entropy by chance."""
    factors = torch.randint(10, (100, 2), generator=generator)
    assert named(torch.rand(100, 20, generator=generator), factors) == [None] * 20
    assert named(factors.float(), factors) == ["turn", "hue"]


def test_continuous_factors_are_binned(generator: torch.Generator):
    factors = torch.rand(2000, 2, generator=generator)
    assert named(factors[:, [1, 0]] ** 3, factors) == ["hue", "turn"]


def test_without_two_factors_that_vary_nothing_is_said(generator: torch.Generator):
    values = torch.rand(200, 2, generator=generator)
    assert named(values, torch.ones(200, 3, dtype=torch.int64)) is None
    assert axis_factors(open_model(Identity((2,), 2)), DataSet("unknown", values), CPU, 0) is None


def test_a_traversal_says_the_names(tmp_path: Path):
    """A grid of drawn images of two pixels: the first is the hue, the second the turn."""
    grid = FactorGrid(("turn", "hue", "fixed"), (6, 8, 1))
    images = DrawnImages(grid, (1, 1, 2), lambda f: (30 * f[:, [1, 0]]).to(torch.uint8)[:, None, None, :])
    data = DataSet("drawn", images, value_range=(0.0, 1.0), factor_names=grid.names, grid=grid)
    model = Identity((1, 1, 2), 2)
    result = ardtool.traverse(model, out=tmp_path / "named.png", data=data, steps=3)
    assert result.axes == [0, 1]  # a hue has the larger variance
    assert result.factors == result.to_dict()["factors"] == ["hue", "turn"]
    plain = ardtool.traverse(model, out=tmp_path / "plain.png", data=data.batch(slice(None)), steps=3)
    assert plain.factors is None
    widths = [Image.open(tmp_path / f"{name}.png").width for name in ("named", "plain")]
    assert widths[0] > widths[1]  # the labels are longer
