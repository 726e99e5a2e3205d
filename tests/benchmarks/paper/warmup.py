"""Whether β that rises over the first quarter of the epochs keeps axes that are lost without (`--beta-warmup`, which the paper has not).

    python tests/benchmarks/paper/warmup.py --scale full --data-root DIR      the paper's networks and epochs on all images, five seeds
    python tests/benchmarks/paper/warmup.py --scale small --data-root DIR     a quarter of the width, 20 epochs of 10,000 images, one seed

The runs of `ard-vae` in other scripts, each with and without the warm-up: from known_factors.py `shapes3d-render` at every L and
`dsprites-render` at the smallest and the largest, from latent_sizes.py MNIST (DIR/MNIST) at every L. β is the same for the last three
quarters of the epochs, so that the validation losses compare: the lower one is the better model by the objective itself, whoever counts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import known_factors
import latent_sizes
from experiment import NOT_CONVERGED, counted, main, mark, plus_minus, table, where

NAME, OPTIONS, SHARE = "warmup", " --data-root DIR", 0.25
SIZES = {
    "shapes3d-render": known_factors.SIZES,
    "dsprites-render": (known_factors.SIZES[0], known_factors.SIZES[-1]),
    "mnist": latent_sizes.SIZES["mnist"],
}


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    drawn = [case for case in known_factors.cases(scale, seeds) if case["method"] == "ard-vae" and case["L"] in SIZES[case["data"]]]
    digits = [case for case in latent_sizes.cases(scale, seeds) if (case["data"], case["share"]) == ("mnist", latent_sizes.USUAL_SHARE)]
    return [case | {"beta_warmup": share} for case in [*drawn, *digits] for share in (0.0, SHARE)]


def measure(case: dict[str, Any]) -> dict[str, Any]:
    return (latent_sizes if case["data"] == "mnist" else known_factors).measure(case)


def tables(records: list[dict[str, Any]]) -> str:
    rows = []
    for data, sizes in SIZES.items():
        for latent in sizes:
            for share in (0.0, SHARE):
                runs = where(records, data=data, L=latent, beta_warmup=share)
                rows.append([data, latent, f"{share:g}" if share else "none", *(told(runs) if runs else ["not measured", *"–––––"])])
    header = ["data", "L", "warm-up", "active", "of each seed", "validation loss", "MSE", "FactorVAE", "MIG"]
    return f"{table(header, rows)}\n\nThe truth is 6 and 5, and unknown of MNIST. {NOT_CONVERGED}"


def told(runs: list[dict[str, Any]]) -> list[str]:
    scores = [plus_minus([run.get(name) for run in runs], 3) for name in ("factor_vae", "mig")]
    each = ", ".join(str(run["axes"]) for run in runs)
    loss, error = plus_minus([run["loss"] for run in runs], 1), plus_minus([run["mse"] for run in runs], 4)
    return [f"{counted(runs)}{mark(runs)}", each, loss, error, *scores]


if __name__ == "__main__":
    main(sys.modules[__name__])
