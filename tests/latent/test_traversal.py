"""Traversals: symmetric offsets, only one axis moves, the centre is the reference exactly."""

import pytest
import torch

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
