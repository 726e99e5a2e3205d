"""A number that is not finite in one of several processes stops all of them, before the step that made it; in bfloat16 too."""

from __future__ import annotations

import numpy as np
import pytest
from several import each, stopped

from .runs import pixels


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rank", [0, 1])
def test_nan_in_one_process_stops_all(tmp_path, rank, precision):
    found = each(2, tmp_path, stopped, {"method": "vae", "precision": precision, "epochs": 3}, pixels(), rank)
    for message, before, after in found:
        assert message.startswith("The loss is not finite in epoch 3, step 3: "), message
        assert "kl is nan" in message, "the process whose term it is names it"
        assert before.keys() == after.keys()
        assert all(np.array_equal(value, after[name]) for name, value in before.items()), "the state is not that before the step"
    first, second = (after for _, _, after in found)
    assert all(np.array_equal(value, second[name]) for name, value in first.items())
