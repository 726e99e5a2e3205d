"""Count the dimension of smooth random manifolds, from nearly flat to strongly curved, and of closed ones.

    python tests/benchmarks/paper/manifolds.py --scale small

Each of the 256 columns of x is one draw of a Gaussian process over points z with kernel exp(-c² |z - z'|² / 2d), by 2,000 random
Fourier features that all columns share. On a `cube` z is uniform in [-1, 1]^d: at c = 0.1 nearly a plane, at c = 4 bent in every
direction. On a `torus` z are the d cosines and d sines of d uniform angles: every coordinate is a circle, which no single axis can hold.
There is no noise, so the dimension is d exactly. 10,000 samples, L = 2d and 4d (`small`: 4d for `ard-vae` alone), every method with its
defaults.

What is counted: active axes of `ard-vae` and `vae`; principal directions of `rae`. Of `ard-vae` and `rae` also the local rank, the number
of singular values of the reconstruction map's Jacobian J_f J_e (in standardised columns) above one half, the median over 100 samples of
the data: a map that projects onto a manifold of dimension d has d of them near 1 and no other, however the manifold bends. TwoNN and
Levina–Bickel (k = 20, pooled as MacKay and Ghahramani) see the data alone. FONDUE trains VAEs of a tenth of the default steps, doubling,
then bisecting L, and keeps the largest one at which the dimensions (Levina–Bickel) of sampled codes and of posterior means differ by at
most 20 % of that of the data (Bonheme, Grzes, arXiv 2209.12806; our reading).
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from experiment import NOT_CONVERGED, history_of, main, mark, plus_minus, still_falling, table, where, whole_counts

NAME = "manifolds"
DIMENSIONS = (2, 4, 8, 16, 32)
SURFACES = (("cube", 0.1), ("cube", 1.0), ("cube", 4.0), ("torus", 1.0))
COLUMNS, SAMPLES, FEATURES = 256, 10_000, 2000
NEIGHBOURS, TOLERANCE, SHARE_OF_EPOCHS = 20, 0.2, 0.1
RANK_SAMPLES = 100
TRAINED = ("ard-vae", "vae", "rae")


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    found = []
    for seed in range(seeds):
        for surface, c in SURFACES:
            for d in DIMENSIONS:
                data = {"surface": surface, "c": c, "d": d, "seed": seed}
                for method in TRAINED:
                    factors = (2,) if scale == "small" and method != "ard-vae" else (2, 4)
                    found += [{"method": method, **data, "L": factor * d} for factor in factors]
                found += [{"method": method, **data} for method in ("neighbours", "fondue")]
    return found


def measure(case: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        x = save_manifold(case, folder)
        if case["method"] == "neighbours":
            return by_neighbours(x)
        if case["method"] == "fondue":
            return fondue(x, folder, case["seed"])
        return trained(case, folder)


def save_manifold(case: dict[str, Any], folder: Path) -> Any:
    """The samples of a case, also as x.npy in a folder."""
    import numpy as np

    x = manifold(case["surface"], case["c"], case["d"], case["seed"], case.get("samples", SAMPLES))
    np.save(folder / "x.npy", x)
    return x


def manifold(surface: str, c: float, d: int, seed: int, samples: int = SAMPLES) -> Any:
    """(samples, COLUMNS) as float32; surface and first SAMPLES samples do not depend on how many there are."""
    import numpy as np

    random, others = (np.random.default_rng([seed, d, round(100 * c), *more]) for more in ((), (1,)))
    z = np.concatenate([random.uniform(-1, 1, size=(SAMPLES, d)), others.uniform(-1, 1, size=(samples - SAMPLES, d))])
    if surface == "torus":
        z = np.concatenate([np.cos(np.pi * z), np.sin(np.pi * z)], axis=1)
    frequencies = c / np.sqrt(d) * random.normal(size=(z.shape[1], FEATURES))
    phases, weights = random.uniform(0, 2 * np.pi, size=FEATURES), random.normal(size=(FEATURES, COLUMNS)) * np.sqrt(2 / FEATURES)
    return (np.cos(z @ frequencies + phases) @ weights).astype(np.float32)


def standardised(x: Any) -> Any:
    import torch

    values = torch.from_numpy(x)
    return (values - values.mean(dim=0)) / values.std(dim=0)


def by_neighbours(x: Any) -> dict[str, Any]:
    """Estimates from the data alone, and how many principal components hold 99 % of the variance."""
    import torch

    from ardtool.metrics.intrinsic_dimension import intrinsic_dimension

    values = standardised(x)
    found = intrinsic_dimension(values, neighbours=[NEIGHBOURS]).estimates
    variances = torch.linalg.svdvals(values.double()).square()
    linear = int((variances.cumsum(0) / variances.sum() <= 0.99).sum()) + 1
    return {"twonn": found["twonn_mle"], "levina_bickel": found[f"mackay_ghahramani_{NEIGHBOURS}"], "linear": linear}


def trained(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    import numpy as np

    import ardtool
    from ardtool.latent.local_rank import local_rank

    settings = {name: case[name] for name in ("method", "seed", "epochs") if name in case}
    result = ardtool.train(data=str(folder / "x.npy"), latent=case["L"], **settings, out=folder / "run")
    history = history_of(folder / "run")
    found = {
        "axes": result.active,
        "directions": ardtool.relevance(result.model, basis="principal").active,
        "mse": result.validation_mse,
        "epochs": result.epochs,
        "falling": still_falling(history),
    }
    if case["method"] != "vae":
        ranked = local_rank(ardtool.load_model(result.model).autoencoder, standardised(np.load(folder / "x.npy"))[-RANK_SAMPLES:])
        found["local_rank"] = float(ranked.ranks.double().median())
        found["singular_values"] = [round(value, 4) for value in ranked.spectra.mean(dim=0).tolist()]
    return found


def fondue(x: Any, folder: Path, seed: int) -> dict[str, Any]:
    """The largest L at which codes and means have about the same dimension."""
    from ardtool.metrics.intrinsic_dimension import intrinsic_dimension

    def dimension(points: Any) -> float:
        return intrinsic_dimension(points, neighbours=[NEIGHBOURS]).estimates[f"mackay_ghahramani_{NEIGHBOURS}"]

    of_data = dimension(standardised(x))
    differs = functools.cache(lambda latent: _difference(latent, folder, x, seed, dimension) > TOLERANCE * of_data)
    found, tried = doubled_and_bisected(max(1, round(of_data)), differs)
    return {"axes": found, "of_data": of_data, "trained": tried}


def doubled_and_bisected(start: int, differs: Callable[[int], bool]) -> tuple[int, int]:
    """The largest L before `differs` says yes, and how many were tried."""
    low, high, latent, tried = 0, None, start, 0
    while latent != low:
        tried += 1
        if differs(latent):
            high = latent
        else:
            low = latent
        latent = 2 * latent if high is None else (low + high) // 2
    return max(low, 1), tried


def _difference(latent: int, folder: Path, x: Any, seed: int, dimension: Callable[[Any], float]) -> float:
    import torch

    import ardtool

    steps = 4000 * SHARE_OF_EPOCHS
    epochs = max(2, round(steps / (0.9 * SAMPLES / 100)))
    result = ardtool.train(
        data=str(folder / "x.npy"), latent=latent, method="vae", epochs=epochs, seed=seed, out=folder / f"vae{latent}", force=True
    )
    network = ardtool.load_model(result.model).autoencoder
    with torch.no_grad():
        posterior = network.encode(standardised(x))
    sampled = posterior.sample(torch.Generator().manual_seed(seed))
    return dimension(sampled) - dimension(posterior.mean)


COLUMNS_SHOWN: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "ard-vae, axes": lambda run: run["axes"] if run["case"]["method"] == "ard-vae" else None,
    "ard-vae, local rank": lambda run: run["local_rank"] if run["case"]["method"] == "ard-vae" else None,
    "vae, axes": lambda run: run["axes"] if run["case"]["method"] == "vae" else None,
    "rae, directions": lambda run: run["directions"] if run["case"]["method"] == "rae" else None,
    "rae, local rank": lambda run: run["local_rank"] if run["case"]["method"] == "rae" else None,
    "TwoNN": lambda run: run.get("twonn"),
    "Levina–Bickel": lambda run: run.get("levina_bickel"),
    "FONDUE": lambda run: run["axes"] if run["case"]["method"] == "fondue" else None,
    "linear, 99 %": lambda run: run.get("linear"),
}
CLEAR, LEARNED = 2.0, 0.1  # smallest ratio of neighbouring singular values that is a gap, largest error of data that are learned


def tables(records: list[dict[str, Any]]) -> str:
    """One row for each surface, dimension and L; then errors and seconds of each way of counting."""
    rows = []
    for surface, c in SURFACES:
        for d in DIMENSIONS:
            here = where(records, surface=surface, c=c, d=d)
            for latent in sorted({run["case"]["L"] for run in here if "L" in run["case"]}):
                runs = [run for run in here if run["case"].get("L", 2 * d) == latent]
                error = plus_minus([run["mse"] for run in runs if run["case"]["method"] == "ard-vae"], 3)
                counts = [_cell(map(count, runs), d) for count in COLUMNS_SHOWN.values()]
                rows.append([f"{surface} {c:g}", d, f"{latent}{mark(runs)}", *counts, error])
    return "\n\n".join(
        [
            table(["surface, c", "d", "L", *COLUMNS_SHOWN, "ard-vae, MSE"], rows),
            f"{NOT_CONVERGED} **Bold**: within half a dimension of d. What needs no L stands in the row of 2d. "
            "The MSE is that of validation data in standardised columns: 1 is the error of the mean.",
            table(
                ["way of counting", *(f"error, {surface} {c:g}" for surface, c in SURFACES), "exact", "seconds a count"], _errors(records)
            ),
            "Errors are means of count / d − 1 over d and L; exact says how often the rounded count is d.",
            _clear_ranks(records),
        ]
    )


def _clear_ranks(records: list[dict[str, Any]]) -> str:
    """How often the local rank is d: with a gap behind it and a small error, with a gap alone, without."""
    kinds: dict[str, list[bool]] = {"both": [], "gap": [], "none": []}
    for run in records:
        if "local_rank" not in run:
            continue
        rank, values = int(run["local_rank"]), run["singular_values"]
        gap = values[rank - 1] / max(values[rank], 1e-9) if 0 < rank < len(values) else 0.0
        kind = "none" if gap <= CLEAR else "both" if run["mse"] < LEARNED else "gap"
        kinds[kind].append(rank == run["case"]["d"])
    both, alone, none = (f"{sum(found)} of {len(found)}" for found in kinds.values())
    return (
        f"The local rank is d in {both} runs whose MSE is below {LEARNED:g} and in which the last singular value that counts is more than "
        f"{CLEAR:g} times the next (`local_rank_gap`), in {alone} with such a gap and a larger MSE, and in {none} without "
        "the gap. (Both limits were chosen with these runs in view.)"
    )


def _cell(values: Any, d: int) -> str:
    known = [value for value in values if value is not None]
    text = whole_counts(known)
    return f"**{text}**" if known and abs(sum(known) / len(known) - d) <= 0.5 else text


def _errors(records: list[dict[str, Any]]) -> list[list[Any]]:
    rows = []
    for name, count in COLUMNS_SHOWN.items():
        counted = [(run["case"], value, run["seconds"]) for run in records if (value := count(run)) is not None]
        cells = []
        for surface in SURFACES:
            errors = [value / case["d"] - 1 for case, value, _ in counted if (case["surface"], case["c"]) == surface]
            cells.append(f"{100 * sum(errors) / len(errors):+.0f} %" if errors else "–")
        exact = sum(round(value) == case["d"] for case, value, _ in counted)
        seconds = sum(spent for *_, spent in counted) / max(1, len(counted))
        rows.append([name, *cells, f"{exact} of {len(counted)}", f"{seconds:.0f}"])
    return rows


if __name__ == "__main__":
    main(sys.modules[__name__])
