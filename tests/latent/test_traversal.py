"""Traversals: symmetric offsets, only one axis moves, the centre is the reference exactly."""

import pytest
import torch

from ardtool.latent.axes import LatentAxes
from ardtool.latent.traversal import traversal_codes, traversal_offsets


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 9])
def test_offsets_are_even_and_symmetric(steps):
    offsets = traversal_offsets(steps, 3.0)
    assert len(offsets) == steps
    torch.testing.assert_close(offsets, -offsets.flip(0))
    if steps > 1:
        torch.testing.assert_close(offsets, torch.linspace(-3, 3, steps), rtol=1e-6, atol=1e-6)


def test_one_axis_moves_and_the_centre_is_the_reference_exactly():
    reference, deviation = torch.randn(4), torch.tensor([1.0, 2.0, 3.0, 4.0])
    z = traversal_codes(reference, deviation, [2, 0], traversal_offsets(9, 3.0))
    assert z.shape == (2, 9, 4)
    assert torch.equal(z[:, 4], reference.expand(2, -1))
    for row, axis in enumerate([2, 0]):
        others = [other for other in range(4) if other != axis]
        assert torch.equal(z[row][:, others], reference[others].expand(9, -1))
        torch.testing.assert_close(z[row, -1, axis], reference[axis] + 3 * deviation[axis])


def test_all_elements_of_a_channel_move_together_each_by_its_own_deviation():
    reference, deviation = torch.randn(3, 2, 2), torch.rand(3, 2, 2) + 0.5
    of, offsets = LatentAxes((3, 2, 2)), traversal_offsets(5, 2.0)
    z = traversal_codes(reference.flatten(), deviation.flatten(), [2, 0], offsets, of).unflatten(2, (3, 2, 2))
    assert z.shape == (2, 5, 3, 2, 2)
    for row, channel in enumerate([2, 0]):
        others = [other for other in range(3) if other != channel]
        assert torch.equal(z[row][:, others], reference[others].expand(5, -1, -1, -1))
        moved = (z[row][:, channel] - reference[channel]) / deviation[channel]
        torch.testing.assert_close(moved, offsets[:, None, None].expand(-1, 2, 2))


def test_elements_of_a_map_move_alone():
    z = traversal_codes(torch.zeros(8), torch.ones(8), [5], traversal_offsets(3, 1.0), LatentAxes((2, 2, 2), "element"))
    assert z[0].nonzero().tolist() == [[0, 5], [2, 5]]
