"""The promise on the box: the number of factors is found. One case on half the default schedule; the table is in docs/results.md."""

import pytest

import ardtool


@pytest.mark.slow
def test_four_factors_are_found(tmp_path):
    result = ardtool.train(data="sprites", latent=8, epochs=14, out=tmp_path / "run")
    assert result.known_factors == 4
    assert result.active == 4
    assert [axis.state for axis in result.relevance.axes[:4]] == ["relevant"] * 4
    assert result.relevance.axes[4].explained < 0.005
