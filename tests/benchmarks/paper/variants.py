"""The same data counted in every way that ardtool offers, and how often the intervals are right.

    python tests/benchmarks/paper/variants.py --scale small

Trained: `ard-vae` with the default β, with β calibrated (`--beta auto`), with the Student-t prior, in bfloat16 and in float32, the default
of a CPU. Data: vectors of rank 2, 5 and 10 in 32 columns (singular values between 1 and 2, noise 10 %), `sprites-3` and `sprites-5`;
L = 16. `small` leaves out float32, and bfloat16 for images, at which CPUs are slow. Each model is counted by exact derivatives (Eq. 19),
by the authors' convention, by sketch, by total effects (Sobol) and in principal directions.

Intervals: ten directions whose singular values fall geometrically from 1 to 1/50, so that the count hangs on the sample; one model for each
of 20 seeds, counted at thresholds of 90, 95 and 99 % from the usual 100 codes, with `active_interval`; against the count from 1,000 other
codes, and σ̂² from 30,000 samples that the model has not seen.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from experiment import main, table, where, whole_counts

NAME = "variants"
COLUMNS, SAMPLES, NOISE, LATENT = 32, 3000, 0.1, 16
DATA = {"rank-2": 2, "rank-5": 5, "rank-10": 10, "sprites-3": 3, "sprites-5": 5}
TRAINED: dict[str, dict[str, Any]] = {
    "default": {},
    "beta auto": {"beta": "auto"},
    "student-t": {"prior": "student-t"},
    "bf16": {"precision": "bf16"},
    "fp32": {"precision": "fp32"},
}
COUNTED: dict[str, dict[str, Any]] = {
    "exact": {"estimator": "exact"},
    "authors' code": {"estimator": "exact", "convention": "authors-code"},
    "sketch": {"estimator": "sketch"},
    "sobol": {"estimator": "sobol"},
    "principal": {"basis": "principal"},
}
INTERVALS, THRESHOLDS, LARGER, MANY = 20, (0.9, 0.95, 0.99), 1000, 30_000


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    found = [
        {"part": "counts", "data": data, "trained": name, "seed": seed}
        for seed in range(seeds)
        for data in DATA
        for name in TRAINED
        if scale == "full" or name not in (("fp32",) if data.startswith("rank") else ("fp32", "bf16"))
    ]
    return found + [{"part": "intervals", "draw": draw, "seed": 0} for draw in range(INTERVALS)]


def measure(case: dict[str, Any]) -> dict[str, Any]:

    with tempfile.TemporaryDirectory() as name:
        return counted(case, Path(name)) if case["part"] == "counts" else covered(case, Path(name))


def directions(singular_values: Any, seed: int, samples: int = SAMPLES) -> Any:
    """x = W z + noise of `NOISE` times the signal's standard deviation, (samples, COLUMNS); the first rows do not depend on `samples`."""
    import numpy as np

    random = np.random.default_rng(seed)
    rank = len(singular_values)
    left, right = (np.linalg.qr(random.normal(size=(size, rank)))[0] for size in (COLUMNS, rank))
    mixed = left * singular_values @ right.T
    deviation = float(np.sqrt(np.square(singular_values).sum() / COLUMNS))
    drawn = random.normal(size=(samples, rank + COLUMNS))
    return (drawn[:, :rank] @ mixed.T + NOISE * deviation * drawn[:, rank:]).astype(np.float32)


def counted(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    import numpy as np

    import ardtool

    data = case["data"]
    if data.startswith("rank"):
        data = str(folder / "x.npy")
        np.save(data, directions(np.linspace(1, 2, DATA[case["data"]]), case["seed"]))
    result = ardtool.train(data=data, latent=LATENT, seed=case["seed"], **TRAINED[case["trained"]], out=folder / "run")
    counts = {name: ardtool.relevance(result.model, **how).active for name, how in COUNTED.items()}
    return {"counts": counts, "mse": result.validation_mse, "converged": result.converged}


def covered(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """At every threshold the count, its interval, and the count of the larger sample."""
    import numpy as np
    import torch

    import ardtool
    from ardtool.autoencoder import Posterior
    from ardtool.latent.jacobian import column_norms
    from ardtool.latent.relevance import active_count

    x = directions(np.geomspace(1, 0.02, 10), 1000 + case["draw"], SAMPLES + MANY)
    np.save(folder / "x.npy", x[:SAMPLES])
    result = ardtool.train(data=str(folder / "x.npy"), latent=LATENT, seed=case["draw"], out=folder / "run")
    model = ardtool.load_model(result.model)
    assert model.scaling is not None, "vectors are standardised"
    others = (torch.from_numpy(x[SAMPLES:]) - model.scaling.mean) / model.scaling.scale
    with torch.no_grad():
        posterior = model.autoencoder.encode(others.float())
        variance = posterior.sample(torch.Generator().manual_seed(0)).double().square().mean(dim=0)
    norms = column_norms(model.autoencoder, Posterior(posterior.mean[:LARGER]))
    scores = norms.contributions.double().mean(dim=0) * variance
    rows = []
    for threshold in THRESHOLDS:
        found = ardtool.relevance(result.model, threshold=threshold)
        rows.append([threshold, found.active, *found.active_interval, int(active_count(scores, threshold))])
    return {"rows": rows}


def tables(records: list[dict[str, Any]]) -> str:
    return "\n\n".join([_counts([run for run in records if "counts" in run]), _intervals([run for run in records if "rows" in run])])


def _counts(records: list[dict[str, Any]]) -> str:
    if not records:
        return "The ways of counting are not measured yet."
    rows = []
    for data, truth in DATA.items():
        for name in TRAINED:
            runs = where(records, data=data, trained=name)
            if not runs:
                continue
            cells = []
            for way in COUNTED:
                text = whole_counts(run["counts"][way] for run in runs)
                right = all(run["counts"][way] == truth for run in runs)
                cells.append(text if right else f"**{text}**")
            error = f"{sum(run['mse'] for run in runs) / len(runs):.2g}"
            rows.append([data, truth, name, *cells, error])
    counts = [(run["counts"][way], DATA[run["case"]["data"]]) for run in records for way in COUNTED]
    right = sum(count == truth for count, truth in counts)
    note = f"Misses are bold; {right} of {len(counts)} counts equal the truth. The MSE is that of the validation data."
    return f"{table(['data', 'truth', 'trained', *COUNTED, 'MSE'], rows)}\n\n{note}"


def _intervals(records: list[dict[str, Any]]) -> str:
    if not records:
        return "The intervals are not measured yet."
    rows = []
    for number, threshold in enumerate(THRESHOLDS):
        found = [run["rows"][number] for run in records]
        held = sum(low <= larger <= high for _, _, low, high, larger in found)
        equal = sum(count == larger for _, count, *_, larger in found)
        wide = sum(high > low for _, _, low, high, _ in found)
        rows.append([f"{100 * threshold:.0f} %", f"{held} of {len(found)}", f"{equal} of {len(found)}", f"{wide} of {len(found)}"])
    header = ["threshold", "interval holds the count of the larger sample", "the count alone equals it", "interval wider than one number"]
    return table(header, rows)


if __name__ == "__main__":
    main(sys.modules[__name__])
