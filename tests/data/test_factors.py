"""Grids of factors: indices and values are inverse, and the last factor is fastest."""

import itertools

import pytest
import torch

from ardtool.data.factors import DrawnImages, FactorGrid
from ardtool.errors import DataError

GRID = FactorGrid(("constant", "shape", "turn"), (1, 3, 4))


def test_a_grid_counts_like_nested_loops():
    assert len(GRID) == 12 and GRID.varying == (1, 2)
    combinations = torch.tensor(list(itertools.product(range(1), range(3), range(4))))
    assert torch.equal(GRID.factors_of(torch.arange(12)), combinations)
    assert torch.equal(GRID.index_of(combinations), torch.arange(12))
    assert GRID.factors_of(torch.tensor([], dtype=torch.int64)).shape == (0, 3)


def test_a_large_grid_counts_without_being_listed():
    grid = FactorGrid(("a", "b", "c", "d", "e"), (1000, 1000, 1000, 1000, 7))
    index = torch.tensor([0, 123_456_789_012, len(grid) - 1])
    assert torch.equal(grid.index_of(grid.factors_of(index)), index)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: GRID.factors_of(torch.tensor([0, 12])), "The data have 12 images; found the index 12."),
        (lambda: GRID.index_of(torch.tensor([[0, 3, 0]])), "The factor 'shape' has the values 0 to 2; found 3."),
        (lambda: GRID.index_of(torch.tensor([[0, 0, 0], [0, 0, -1]])), "The factor 'turn' has the values 0 to 3; found -1."),
        (lambda: GRID.index_of(torch.tensor([[0, 0]])), "The data have 3 factors; found values with shape (1, 2)."),
    ],
)
def test_values_outside_the_grid_are_refused(call, sentence):
    with pytest.raises(DataError) as caught:
        call()
    assert caught.value.message == sentence


def test_drawn_images_stand_in_for_a_tensor():
    images = DrawnImages(GRID, (1, 2, 2), lambda f: (10 * f[:, 1] + f[:, 2]).to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2))
    assert len(images) == 12 and images.shape == (12, 1, 2, 2) and images.ndim == 4
    values = [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert torch.cat(list(images.split(5)))[:, 0, 0, 0].tolist() == values
    assert images[torch.tensor([4, 11])][:, 0, 1, 1].tolist() == [10, 23]


@pytest.mark.parametrize(
    "index",
    [slice(None), slice(-5, None), slice(1, 9, 3), slice(20, 30), torch.tensor([3, -1, 3]), torch.arange(12) % 5 == 0, torch.arange(0)],
)
def test_drawn_images_are_indexed_as_a_tensor_is(index):
    images = DrawnImages(GRID, (1, 1, 1), lambda f: GRID.index_of(f).to(torch.uint8)[:, None, None, None])
    assert images[index].flatten().tolist() == torch.arange(12)[index].tolist()
