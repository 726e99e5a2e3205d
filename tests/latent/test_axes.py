"""What counts as an axis, and how numbers of elements become numbers of axes."""

import pytest
import torch

from ardtool.errors import ConfigError
from ardtool.latent.axes import LatentAxes


def test_the_axes_of_vectors_are_their_numbers_whatever_the_granularity():
    for granularity in ("channel", "element"):
        axes = LatentAxes((5,), granularity)
        values = torch.randn(3, 5)
        assert (axes.count, axes.elements, axes.size, axes.noun) == (5, 5, 1, "axis")
        assert torch.equal(axes.sum(values), values) and torch.equal(axes.mean(values), values)
        assert axes.elements_of([3, 1]) == [3, 1]
        assert axes.keeping([3, 1]).shape == (2,)


def test_channels_group_elements_in_the_order_of_a_flattened_map():
    axes = LatentAxes((3, 2, 4))
    maps = torch.randn(7, 3, 2, 4, dtype=torch.float64)
    flat = maps.flatten(1)
    assert (axes.count, axes.elements, axes.size, axes.noun) == (3, 24, 8, "channel")
    assert torch.allclose(axes.sum(flat), maps.sum(dim=(2, 3)))
    assert torch.allclose(axes.mean(flat), maps.mean(dim=(2, 3)))
    assert torch.equal(flat[:, axes.elements_of([2, 0])].reshape(7, 2, 2, 4), maps[:, [2, 0]])
    assert torch.equal(axes.groups(), torch.arange(3).repeat_interleave(8))
    assert axes.keeping([0, 2]).shape == (2, 2, 4)


def test_elements_of_maps_are_axes_of_their_own():
    axes = LatentAxes((3, 2, 4), "element")
    assert (axes.count, axes.size, axes.noun) == (24, 1, "element")
    assert axes.keeping([5, 7]).shape == (2,)


def test_an_unknown_granularity_is_refused():
    with pytest.raises(ConfigError, match=r"--granularity is 'pixel'; expected channel or element\."):
        LatentAxes((3,), "pixel")  # pyright: ignore[reportArgumentType]
