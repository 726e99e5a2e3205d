"""Generated digits, errors and counts of all methods, on the paper's network and on the rivals' own (main Tables 2, 4, 5; supp. 10-13).

    python tests/benchmarks/paper/generation.py --scale full --data-root DIR       the paper's networks and epochs, five seeds
    python tests/benchmarks/paper/generation.py --scale small --data-root DIR      a quarter of the width, 20 epochs of 10,000 digits

MNIST, L = 16 (of `ard-vae` also 32 and 64, on the rivals' networks also 32), the paper's options of each method. Distances are by the
features of a small network that reads digits (`digit_features.py`), not by Inception's, so their size is not the paper's FID; precision
and recall (Sajjadi) are by the same features. Every number is for 5,000 generated and 5,000 test digits. Of generated ones the active
axes vary, or all where it says so. The paper has an FID by both of `ard-vae` and the methods that do not count themselves; precision and
recall of the latter vary all axes there.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from experiment import NOT_CONVERGED, counted, history_of, main, mark, plus_minus, still_falling, table, whole_counts

NAME, OPTIONS = "generation", " --data-root DIR"
METHODS = ("ard-vae", "vae", "beta-tcvae", "rae", "wae-mmd", "geco-l0-arm-vae", "mask-aae")
LARGER = [("paper-mnist", "ard-vae", latent) for latent in (32, 64)]
RIVALS = [
    (network, method, latent)
    for network, own in (("maskaae", "mask-aae"), ("geco", "geco-l0-arm-vae"))
    for latent in (16, 32)
    for method in ("ard-vae", own)
]
LATENT, SAMPLES = 16, 5_000
NARROW_CRITIC = {"mask.units": 256}  # a quarter of its width, where the networks have a quarter
PARTS = {"small": {"epochs": 20, "samples": 10_000}, "full": {}}
# (network, method, L): ACTIVE, MSE, FID with those axes, FID with all, precision, recall; main Tables 2-5, supp. Tables 10, 11 and 13
PAPER = {
    ("paper-mnist", "ard-vae", 16): ("12.80 ± 0.40", "0.008 ± 0.000", "22.24 ± 0.57", "21.94 ± 0.67", "0.91 ± 0.02", "0.98 ± 0.00"),
    ("paper-mnist", "ard-vae", 32): ("12.60 ± 0.49", "–", "22.30 ± 0.33", "21.97 ± 0.23", "–", "–"),
    ("paper-mnist", "ard-vae", 64): ("12.40 ± 0.49", "–", "22.31 ± 0.58", "22.30 ± 0.48", "–", "–"),
    ("paper-mnist", "vae", 16): ("10.20 ± 0.40", "0.012 ± 0.000", "29.33 ± 0.41", "28.78 ± 0.48", "0.88 ± 0.04", "0.97 ± 0.00"),
    ("paper-mnist", "beta-tcvae", 16): ("7.40 ± 0.49", "0.018 ± 0.000", "51.35 ± 0.95", "50.62 ± 1.19", "0.82 ± 0.03", "0.95 ± 0.01"),
    ("paper-mnist", "rae", 16): ("16.00 ± 0.00", "0.003 ± 0.000", "18.85 ± 0.43", "18.79 ± 0.31", "0.87 ± 0.01", "0.95 ± 0.02"),
    ("paper-mnist", "wae-mmd", 16): ("16.00 ± 0.00", "0.004 ± 0.000", "24.78 ± 0.77", "25.42 ± 1.19", "0.92 ± 0.03", "0.92 ± 0.01"),
    ("paper-mnist", "geco-l0-arm-vae", 16): ("10.00 ± 1.10", "0.004 ± 0.001", "304.75 ± 64.29", "–", "0.03 ± 0.02", "0.38 ± 0.08"),
    ("paper-mnist", "mask-aae", 16): ("9.80 ± 1.60", "0.091 ± 0.091", "144.92 ± 16.80", "–", "0.00 ± 0.00", "0.07 ± 0.00"),
    ("maskaae", "ard-vae", 16): ("8.0 ± 0.0", "–", "21.74 ± 0.49", "–", "–", "–"),
    ("maskaae", "mask-aae", 16): ("9.80 ± 2.23", "–", "21.35 ± 0.70", "–", "–", "–"),
    ("maskaae", "ard-vae", 32): ("7.8 ± 0.4", "–", "20.32 ± 0.96", "–", "–", "–"),
    ("maskaae", "mask-aae", 32): ("11.40 ± 2.65", "–", "21.74 ± 3.77", "–", "–", "–"),
    ("geco", "ard-vae", 16): ("14.60 ± 0.49", "–", "34.45 ± 0.82", "–", "–", "–"),
    ("geco", "geco-l0-arm-vae", 16): ("9.00 ± 1.41", "–", "64.05 ± 5.31", "–", "–", "–"),
    ("geco", "ard-vae", 32): ("15.60 ± 0.49", "–", "34.15 ± 1.15", "–", "–", "–"),
    ("geco", "geco-l0-arm-vae", 32): ("18.2 ± 2.93", "–", "93.62 ± 22.49", "–", "–", "–"),
}


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    runs = [("paper-mnist", method, LATENT) for method in METHODS] + LARGER + RIVALS
    narrow = "/4" if scale == "small" else ""
    critic = {"mask-aae": {"options": NARROW_CRITIC}} if scale == "small" else {}
    return [
        {"arch": f"{network}{narrow}", "method": method, "seed": seed, **PARTS[scale], **critic.get(method, {}), **size_of(latent, LATENT)}
        for seed in range(seeds)
        for network, method, latent in runs
    ]


def size_of(latent: int, usual: int) -> dict[str, int]:
    """What a case has of another L than the usual one."""
    return {} if latent == usual else {"latent": latent}


def measure(case: dict[str, Any]) -> dict[str, Any]:
    import ardtool

    settings: dict[str, Any] = {"latent": LATENT} | case
    with tempfile.TemporaryDirectory() as name:
        result = ardtool.train(data="mnist", **settings, out=Path(name) / "run")
        history = history_of(Path(name) / "run")
        return found_by(result, history, "mnist", "digit_features:features", SAMPLES, case["seed"], Path(name))


def found_by(result: Any, history: list[dict[str, Any]], data: Any, features: str, samples: int, seed: int, folder: Path) -> dict[str, Any]:
    """Counts, errors and distances of a trained model, measured on data that it has not seen."""
    import ardtool

    how: dict[str, Any] = {"data": data, "features": features, "samples": samples, "seed": seed, "out": folder / "metrics.json"}
    found = ardtool.evaluate(result.model, metrics="mse,fid,prd", **how).metrics
    by_all = ardtool.evaluate(result.model, metrics="fid", all_axes=True, **how).metrics
    own = result.own_count
    return {
        "axes": result.active,
        "own": None if own is None else len(own["axes"]),
        "own_missed": None if own is None else own["reason"],
        "mse": found["mse"].value,
        "mse_active": found["mse_active"].value,
        "metrics": {metric: value.value for metric, value in found.items()},
        "fd_all": next(value.value for metric, value in by_all.items() if metric.startswith("fd[")),
        "falling": still_falling(history),
    }


def tables(records: list[dict[str, Any]]) -> str:
    floor = plus_minus([metric_of(run, "fd_floor") for run in records])
    compare = compared(records, PAPER, LATENT, "FD of digit features")
    return f"{compare}\n\nFD between training and test digits: {floor}. {NOT_CONVERGED}"


def compared(records: list[dict[str, Any]], papers: dict[tuple[str, str, int], tuple[str, ...]], usual: int, distances: str) -> str:
    """A table of counts and errors and one of what is generated, with a row for each network, method and L that the paper has."""
    counts, qualities = [], []
    for place, (count, error, distance, distance_all, precision, recall) in papers.items():
        runs = [run for run in records if place_of(run["case"], usual) == place]
        network, method, latent = place
        row = [network, f"{method}{mark(runs)}", latent]
        found = counted(runs) if runs else "not measured"
        errors = [plus_minus([run[name] for run in runs], 4) for name in ("mse", "mse_active")]
        counts.append([*row, found, whole_counts(run["own"] for run in runs), count, *errors, error])
        by_active, by_all = (plus_minus(values) for values in ([metric_of(run, "fd") for run in runs], [run.get("fd_all") for run in runs]))
        exact, complete = (plus_minus([metric_of(run, f"prd_{which}") for run in runs]) for which in ("precision", "recall"))
        qualities.append([*row, by_active, distance, by_all, distance_all, exact, precision, complete, recall])
    header = ["network", "method", "L"]
    first = [*header, "active", "own count", "paper: ACTIVE", "test MSE, all axes", "active axes", "paper: MSE"]
    second = [*header, f"{distances}, active axes", "paper: FID", "all axes", "paper: FID"]
    second += ["precision", "paper: precision", "recall", "paper: recall"]
    return f"{table(first, counts)}\n\n{table(second, qualities)}"


def place_of(case: dict[str, Any], usual: int) -> tuple[str, str, int]:
    return case["arch"].partition("/")[0], case["method"], case.get("latent", usual)


def metric_of(run: dict[str, Any], name: str) -> float | None:
    """A metric by its name without the features that it was measured by."""
    return next((value for metric, value in run["metrics"].items() if metric.startswith(f"{name}[")), None)


if __name__ == "__main__":
    main(sys.modules[__name__])
