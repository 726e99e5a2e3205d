"""Nothing is encoded twice, and codes that are not numbers are refused."""

from __future__ import annotations

import pytest
import torch

from ardtool.errors import DataError
from ardtool.metrics.disentanglement.encoded import EncodedOnce


def test_each_sample_is_encoded_once_in_one_call():
    calls: list[list[int]] = []

    def encode(index: torch.Tensor) -> torch.Tensor:
        calls.append(index.tolist())
        return torch.stack([index, -index], dim=1)

    codes = EncodedOnce(100, encode)
    assert codes[torch.tensor([[7, 3], [3, 90]])].tolist() == [[[7, -7], [3, -3]], [[3, -3], [90, -90]]]
    codes.require(torch.tensor([90, 5, 3]))
    codes.require(torch.tensor([5, 7]))
    assert codes[torch.tensor([5])].tolist() == [[5, -5]]
    assert calls == [[3, 7, 90], [5]]
    assert codes.encoded == 4 and len(codes) == 100


def test_codes_that_are_there_need_no_encoder():
    there = torch.randn(6, 2)
    assert torch.equal(EncodedOnce.of(there)[torch.tensor([5, 0])], there[[5, 0]])


def test_codes_that_are_not_finite_are_refused():
    broken = torch.zeros(5000, 3)
    broken[[1, 2, 4], [0, 1, 2]] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    with pytest.raises(DataError) as error:
        EncodedOnce.of(broken).require(torch.arange(4000))
    assert error.value.message == "The codes of 3 of 4,000 samples are not finite, so nothing can be measured on them."
