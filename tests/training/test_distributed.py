"""Several processes: the same samples, the same noise, the same gradients and the same state as one."""

from __future__ import annotations

import numpy as np
import pytest
from several import all_fitted, each

from ardtool.objectives import OBJECTIVES
from ardtool.training.processes import Processes


@pytest.mark.parametrize("size", [2, 3])
def test_a_run_is_that_of_one_process(tmp_path, size):
    settings = [{"method": method} for method in OBJECTIVES]
    alone = all_fitted(Processes(), settings)
    everybody = each(size, tmp_path, all_fitted, settings)
    for i, m in enumerate(settings):
        one, variance, history = alone[i]
        several = [x[i] for x in everybody]
        for other in several:
            for name, value in other[0].items():
                assert np.array_equal(value, several[0][0][name]), name
        diffs = {name: float(np.abs(value - one[name]).max()) for name, value in several[0][0].items()}
        print(
            m,
            size,
            max(v for k, v in diffs.items() if "model" in k),
            abs(variance - several[0][1]).max(),
            max((v, k) for k, v in diffs.items()),
            [h.training["loss"] for h in history],
            [h.training["loss"] for h in several[0][2]],
        )
