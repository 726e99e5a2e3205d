"""The scripts behind docs/results.md: every run is made once, and the pages say what is missing."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "benchmarks" / "paper"
sys.path.insert(0, str(SCRIPTS))
experiment = importlib.import_module("experiment")
manifolds = importlib.import_module("manifolds")
HELPERS = ("experiment", "digit_features", "photo_features")
EXPERIMENTS = sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem not in HELPERS)

FAKE = """
from pathlib import Path
NAME = "fake"
FOLDER = Path({folder!r})
def cases(scale, seeds):
    return [{{"x": x, "scale": scale, "seed": seed}} for seed in range(seeds) for x in {values}]
def measure(case):
    with open(FOLDER / "made", "a") as file:
        file.write(f"{{case['x']}} ")
    if case["x"] == 3 and not (FOLDER / "mended").exists():
        raise ValueError("three")
    return {{"square": case["x"] ** 2}}
def tables(records):
    return ", ".join(str(record["square"]) for record in records)
"""


def fake(folder: Path, values: list[int]):
    path = folder / "fake.py"
    path.write_text(FAKE.format(folder=str(folder), values=values))
    sys.path.insert(0, str(folder))
    try:
        sys.modules.pop("fake", None)
        importlib.invalidate_caches()
        return importlib.import_module("fake")
    finally:
        sys.path.remove(str(folder))


@pytest.mark.slow
def test_a_run_is_made_once_and_one_that_failed_again(tmp_path, capfd):
    module, path = fake(tmp_path, [1, 2, 3]), tmp_path / "fake_small.json"
    records = experiment.run_missing(module, "small", 1, path, 1, "")
    assert (tmp_path / "made").read_text() == "1 2 3 "
    assert "ValueError: three" in capfd.readouterr().out
    assert [record["case"]["x"] for record in json.loads(path.read_text())] == [1, 2]
    assert module.tables(records) == "1, 4"
    (tmp_path / "mended").touch()
    records = experiment.run_missing(module, "small", 1, path, 1, "")
    assert (tmp_path / "made").read_text() == "1 2 3 3 "
    assert module.tables(records) == "1, 4, 9"
    assert {"date", "machine", "torch", "ardtool", "seconds"} <= set(records[0])


@pytest.mark.slow
def test_what_is_no_case_any_more_is_forgotten(tmp_path):
    path = tmp_path / "fake_small.json"
    experiment.run_missing(fake(tmp_path, [1, 2]), "small", 1, path, 1, "")
    records = experiment.run_missing(fake(tmp_path, [2, 4]), "small", 1, path, 1, "")
    assert [record["case"]["x"] for record in records] == [2, 4]
    assert (tmp_path / "made").read_text() == "1 2 4 "


@pytest.mark.slow
def test_more_seeds_are_kept_by_a_call_that_asks_for_fewer(tmp_path):
    module, path = fake(tmp_path, [1, 2]), tmp_path / "fake_small.json"
    for seeds, only in ((1, ""), (2, "x=2"), (1, "")):
        records = experiment.run_missing(module, "small", seeds, path, 1, only)
    assert [(record["case"]["x"], record["case"]["seed"]) for record in records] == [(1, 0), (2, 0), (2, 1)]
    assert (tmp_path / "made").read_text() == "1 2 2 "


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("scale", ["small", "full"])
def test_the_cases_of_an_experiment_differ(name, scale):
    module = importlib.import_module(name)
    cases = module.cases(scale, 3)
    assert name == module.NAME
    assert len({experiment.key(case) for case in cases}) == len(cases) > 0
    assert {case["seed"] for case in cases} == {0, 1, 2}
    assert [case for case in cases if case["seed"] == 0] == module.cases(scale, 1)


def test_a_page_says_what_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "FOLDER", tmp_path)
    module = fake(tmp_path, [1, 2])
    record = {"case": {"x": 1, "scale": "small", "seed": 0}, "square": 1, "seconds": 90.0, "date": "2026-11-29", "machine": "an abacus"}
    experiment.write(tmp_path / "fake_small.json", [record])
    page = experiment.page_part(module)
    told = "1 runs, 2 minutes of one thread in all, one seed (0) and so without ±; 1 runs are not measured."
    assert f"Recorded 2026-11-29 on an abacus: {told}" in page
    assert page.endswith("    python tests/benchmarks/paper/fake.py --scale full\n\nNot measured.")
    experiment.write(tmp_path / "fake_small.json", [record, record | {"case": record["case"] | {"seed": 4}}])
    told = "3 minutes of one thread in all, seeds 0 to 4 (a value without ± has one); 1 runs are not measured."
    assert told in experiment.page_part(module)
    assert "    python tests/benchmarks/paper/fake.py --scale small --seeds 5\n" in experiment.page_part(module)


@pytest.mark.parametrize(
    ("losses", "falling"),
    [([10.0] * 30, False), ([100 * 0.98**epoch for epoch in range(40)], True), ([100 * 0.995**epoch for epoch in range(40)], False)],
)
def test_a_loss_that_falls_by_more_than_a_hundredth_an_epoch(losses, falling):
    assert experiment.still_falling([{"validation": {"loss": loss}} for loss in losses]) is falling


@pytest.mark.parametrize("truth", [1, 2, 3, 7, 20, 33])
@pytest.mark.parametrize("start", [1, 3, 16, 40])
def test_doubling_and_bisecting_find_the_last_size(truth, start):
    tried = []

    def differs(latent: int) -> bool:
        tried.append(latent)
        return latent > truth

    assert manifolds.doubled_and_bisected(start, differs) == (truth, len(tried))


@pytest.mark.parametrize("surface", ["cube", "torus"])
def test_manifolds_have_their_dimension(surface):
    """Neighbours see two dimensions however many columns there are."""
    import torch

    from ardtool.metrics.intrinsic_dimension import intrinsic_dimension

    x = manifolds.manifold(surface, 1.0, 2, 0)
    assert x.shape == (manifolds.SAMPLES, manifolds.COLUMNS)
    found = intrinsic_dimension(torch.from_numpy(x[:2000]), neighbours=[20]).estimates
    assert found["twonn_mle"] == pytest.approx(2, abs=0.15)


def test_more_samples_lie_on_the_same_surface():
    few, many = (manifolds.manifold("cube", 4.0, 2, 0, manifolds.SAMPLES + more) for more in (0, 100))
    assert len(many) == len(few) + 100
    assert abs(many[: len(few)] - few).max() < 1e-5
