"""Whether longer training leads to the paper's numbers: runs of other scripts' small scale, with five times as many epochs.

    python tests/benchmarks/paper/longer.py --scale small --data-root DIR

    known_factors.py    `ard-vae` on drawn data at the smallest and the largest L: do surplus axes close, does one axis follow one factor?
    generation.py       `geco-l0-arm-vae` on MNIST: its gates close only once its target is met; also with a target that is easier to meet

The networks are a quarter as wide as the paper's, at the full scale too, which has five seeds. The tables set each run beside the one of
the other script that differs in its epochs alone, as far as that is recorded.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import generation
import known_factors
from experiment import FOLDER, NOT_CONVERGED, counted, main, mark, plus_minus, read, table, where, whole_counts

NAME, OPTIONS, TIMES = "longer", " --data-root DIR", 5
GATED, NETWORKS = "geco-l0-arm-vae", ("paper-mnist", "geco")
EASIER = {"geco.tau": 15.0}  # in place of 10


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    sizes = (known_factors.SIZES[0], known_factors.SIZES[-1])
    factors = [case for case in known_factors.cases("small", seeds) if case["method"] == "ard-vae" and case["L"] in sizes]
    gated = {
        network: [case for case in generation.cases("small", seeds) if generation.place_of(case, generation.LATENT) == place_of(network)]
        for network in NETWORKS
    }
    easier = [case | {"options": EASIER} for network in NETWORKS for case in gated[network]]
    return [case | {"epochs": TIMES * case["epochs"]} for case in [*factors, *gated[NETWORKS[0]], *easier]]


def place_of(network: str) -> tuple[str, str, int]:
    return network, GATED, generation.LATENT


def measure(case: dict[str, Any]) -> dict[str, Any]:
    return (known_factors if "data" in case else generation).measure(case)


def tables(records: list[dict[str, Any]]) -> str:
    factors = [run for run in records if "data" in run["case"]]
    gated = [run for run in records if "data" not in run["case"]]
    header = ["data", "L", "factors", "paper: ACTIVE", "epochs", "active", "FactorVAE", "MIG", "paper: both", "MSE"]
    parts = [table(header, factor_rows(factors))]
    if gated:
        header = [
            "network",
            "method",
            "target",
            "epochs",
            "active",
            "gates open",
            "test MSE",
            "FD of digit features",
            "paper: gates, MSE, FID",
        ]
        parts.append(table(header, gated_rows(gated)))
    return "\n\n".join([*parts, NOT_CONVERGED])


def factor_rows(runs: list[dict[str, Any]]) -> list[list[Any]]:
    rows = []
    for data, latent in dict.fromkeys((run["case"]["data"], run["case"]["L"]) for run in runs):
        these = where(runs, data=data, L=latent)
        for each in (before(these, known_factors), these):
            if each:
                scores = [plus_minus([run[name] for run in each], 3) for name in ("factor_vae", "mig")]
                error = plus_minus([run["mse"] for run in each], 4)
                paper, *both = known_factors.PAPER[data, "ard-vae", latent]
                rows.append(
                    [data, latent, known_factors.FACTORS[data], paper, epochs_of(each), counted(each), *scores, ", ".join(both), error]
                )
    return rows


def gated_rows(runs: list[dict[str, Any]]) -> list[list[Any]]:
    rows = []
    for network in NETWORKS:
        place = place_of(network)
        count, error, distance, *_ = generation.PAPER[place]
        of_network = [run for run in runs if generation.place_of(run["case"], generation.LATENT) == place]
        usual, easier = ([run for run in of_network if ("options" in run["case"]) == changed] for changed in (False, True))
        for target, each in (("10", before(of_network, generation)), ("10", usual), ("15", easier)):
            if each:
                own = whole_counts(run["own"] for run in each)
                told = [plus_minus([run["mse"] for run in each], 4), plus_minus([generation.metric_of(run, "fd") for run in each])]
                rows.append([network, GATED, target, epochs_of(each), counted(each), own, *told, f"{count}, {error}, {distance}"])
    return rows


def before(runs: list[dict[str, Any]], script: Any) -> list[dict[str, Any]]:
    """What another script recorded of the same cases with its epochs and the usual target."""
    usual = [{name: value for name, value in run["case"].items() if name != "options"} for run in runs]
    wanted = [case | {"epochs": case["epochs"] // TIMES} for case in usual]
    return [record for record in read(FOLDER / f"{script.NAME}_small.json") if record["case"] in wanted]


def epochs_of(runs: list[dict[str, Any]]) -> str:
    return f"{runs[0]['case']['epochs']}{mark(runs)}"


if __name__ == "__main__":
    main(sys.modules[__name__])
