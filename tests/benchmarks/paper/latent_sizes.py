"""Does the count depend on L, or on the size of X_α? (main Table 3 and Figure 1, supp. Tables 1, 3, 11, 14, 15)

    python tests/benchmarks/paper/latent_sizes.py --scale full --data-root DIR      the paper's networks and epochs, five seeds
    python tests/benchmarks/paper/latent_sizes.py --scale small --data-root DIR     a quarter of the width, 20 epochs of a part

`ard-vae` with the paper's β on MNIST (DIR/MNIST) and CIFAR-10 (DIR/cifar10-jpeg/train.zip, JPEG copies of 50,000 images). `small` trains on
10,000 digits and 5,000 photographs. X_α has a fifth of the training data; on MNIST at L = 32, and at full scale on CIFAR-10 at L = 256,
also 4 and 10 per cent, the shares of the paper's 2K and 5K of 50K, of which it has one seed. Its 20K are left out: ardtool holds out at
most a fifth. Errors are those of posterior means of the validation data, per pixel in [0, 1].
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from experiment import NOT_CONVERGED, counted, history_of, main, mark, plus_minus, still_falling, table, where

NAME, OPTIONS = "latent_sizes", " --data-root DIR"
SIZES = {"mnist": (16, 32, 64), "cifar10": (64, 128, 256, 512)}
USUAL_SHARE, SHARES, SHARES_SIZES = 0.2, (0.04, 0.1), {"mnist": 32, "cifar10": 256}
SETTINGS = {
    "mnist": {"arch": "paper-mnist", "beta": 0.5, "epochs": 50, "samples": 50_000},
    "cifar10": {"arch": "paper-cifar10", "beta": 0.05, "epochs": 100, "samples": 45_000},
}
PARTS = {"mnist": 10_000, "cifar10": 5_000}
PAPER = {
    ("mnist", 16): "12.80 ± 0.40",
    ("mnist", 32): "12.60 ± 0.49",
    ("mnist", 64): "12.40 ± 0.49",
    ("cifar10", 64): "60.40 ± 0.49",
    ("cifar10", 128): "105.80 ± 1.33",
    ("cifar10", 256): "116.40 ± 3.72",
    ("cifar10", 512): "117.80 ± 15.04",
}
PAPER_SHARES = {"mnist": {0.04: "13", 0.1: "12", 0.2: "13"}, "cifar10": {0.04: "116", 0.1: "114", 0.2: "112"}}
PAPER_SECONDS = {
    ("mnist", 16): "0.36 ± 0.02",
    ("mnist", 32): "0.36 ± 0.01",
    ("mnist", 64): "0.36 ± 0.01",
    ("cifar10", 128): "0.64 ± 0.02",
    ("cifar10", 256): "0.64 ± 0.02",
    ("cifar10", 512): "0.65 ± 0.02",
}
COURSE = (1, 2, 5, 10)  # epochs of which the extremes of σ̂² are shown


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    found = []
    for seed in range(seeds):
        runs = [(data, size, USUAL_SHARE) for data, sizes in SIZES.items() for size in sizes]
        runs += [(data, size, share) for data, size in SHARES_SIZES.items() for share in SHARES if scale == "full" or data == "mnist"]
        for data, size, share in runs:
            how = dict(SETTINGS[data])
            if scale == "small":
                how |= {"arch": f"{how['arch']}/4", "epochs": 20, "samples": PARTS[data]}
            found.append({"data": data, "L": size, "share": share, "seed": seed, **how})
    return found


def path_of(data: str) -> str:
    return data if data == "mnist" else str(Path(os.environ["ARDTOOL_DATA"]) / "cifar10-jpeg" / "train.zip")


def measure(case: dict[str, Any]) -> dict[str, Any]:

    import ardtool
    from ardtool.data.dataset import split_indices

    settings: dict[str, Any] = {name: case[name] for name in ("arch", "beta", "epochs", "samples", "seed", "beta_warmup") if name in case}
    data = path_of(case["data"])
    with tempfile.TemporaryDirectory() as name:
        share = round(case["share"] * case["samples"])
        result = ardtool.train(data=data, latent=case["L"], alpha_samples=share, **settings, out=Path(name) / "run")
        history = history_of(Path(name) / "run")
        held = ardtool.open_data(data)
        _, validation = split_indices(held, 0.1, case["seed"], case["samples"])
        errors = ardtool.evaluate(result.model, data=held.batch(validation), metrics=["mse"], out=Path(name) / "mse.json").metrics
    epoch = [each["step_seconds"] + each["prior_seconds"] + each["validation_seconds"] for each in history]
    return {
        "axes": result.active,
        "interval": list(result.active_interval),
        "mse": errors["mse"].value,
        "mse_active": errors["mse_active"].value,
        "loss": history[-1]["validation"]["loss"],
        "prior_variance": [[each["state"][f"prior_variance_{end}"] for end in ("min", "max")] for each in history],
        "prior_seconds": sum(each["prior_seconds"] for each in history) / len(history),
        "prior_share": sum(each["prior_seconds"] for each in history) / sum(epoch),
        "converged": result.converged,
        "falling": still_falling(history),
    }


def tables(records: list[dict[str, Any]]) -> str:
    measured = ["active", "paper: ACTIVE", "MSE, all axes", "MSE, active axes", "prior update, s", "of an epoch"]
    shares = [
        [data, size, f"{100 * share:.0f} %", *row(where(records, data=data, L=size, share=share), PAPER_SHARES[data][share])]
        for data, size in SHARES_SIZES.items()
        for share in sorted(PAPER_SHARES[data])
    ]
    sizes, courses = [], []
    for data, size in PAPER:
        runs = where(records, data=data, L=size, share=USUAL_SHARE)
        sizes.append([data, size, *row(runs, PAPER[data, size]), PAPER_SECONDS.get((data, size), "–")])
        courses.append([data, size, *course(runs)])
    return "\n\n".join(
        [
            table(["data", "L", *measured, "paper: update, s"], sizes),
            "The smallest and the largest σ̂² of the axes after some epochs, means over the seeds:",
            table(["data", "L", *(f"epoch {epoch}" for epoch in COURSE), "last epoch"], courses),
            "The size of X_α:",
            table(["data", "L", "X_α of the training data", *measured], shares),
            NOT_CONVERGED,
        ]
    )


def row(runs: list[dict[str, Any]], paper: str) -> list[str]:
    if not runs:
        return ["not measured", paper, *"––––"]
    errors = [plus_minus([run[name] for run in runs], 4) for name in ("mse", "mse_active")]
    cost = [plus_minus([run["prior_seconds"] for run in runs]), f"{100 * sum(run['prior_share'] for run in runs) / len(runs):.1f} %"]
    return [f"{counted(runs)}{mark(runs)}", paper, *errors, *cost]


def course(runs: list[dict[str, Any]]) -> list[str]:
    """The extremes of σ̂² after some epochs and the last one."""

    def ends(epoch: int) -> str:
        known = [run["prior_variance"][epoch - 1] for run in runs if epoch <= len(run["prior_variance"])]
        return " to ".join(f"{sum(ends) / len(ends):.2g}" for ends in zip(*known, strict=True)) if known else "–"

    return [*(ends(epoch) for epoch in COURSE), ends(0)]


if __name__ == "__main__":
    main(sys.modules[__name__])
