"""Sizes as users write them, and batches that fit."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair
from ardtool.commands.memory import MOST_ROWS, budget_for, decoding_rows, encoding_rows, parse_bytes, resident_bytes
from ardtool.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2 * 2**30), ("500MB", 500_000_000), ("1.5 gib", 3 * 2**29), ("4096", 4096), (4096, 4096), ("1k", 1024), ("3B", 3)],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["much", "", "-1GB", "0", "2 GiBs", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match=f"--max-memory is '{text}'; expected a size such as 2GiB"):
        parse_bytes(text)


def test_a_limit_counts_what_the_process_holds_already():
    held = resident_bytes()
    assert held > 2**20
    assert 0 < budget_for(held + 2**30, "cpu") <= 2**30
    with pytest.raises(ConfigError, match=r"--max-memory 1MiB: program and model already take [\d,]+ MiB\."):
        budget_for("1MiB", "cpu")


def test_batches_shrink_with_the_budget_and_never_below_one():
    model = ModulePair(nn.Linear(1000, 10), nn.Sequential(nn.Linear(10, 1000), nn.SiLU()), (1000,), 10)
    z, x = torch.zeros(2, 10), torch.zeros(2, 1000)
    for rows, sample in ((decoding_rows, (z, None)), (encoding_rows, (x,))):
        assert rows(model, *sample, memory=2**30) == MOST_ROWS
        assert 1 < rows(model, *sample, memory=2**17) < MOST_ROWS
        assert rows(model, *sample, memory=1) == 1
