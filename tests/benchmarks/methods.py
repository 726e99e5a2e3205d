"""Every training method side by side.

    python tests/benchmarks/methods.py linear --out methods.json           rank 5 in 32 columns, L = 16, five seeds
    python tests/benchmarks/methods.py linear --arch linear …              the same with linear encoders and decoders
    python tests/benchmarks/methods.py sprites …                           8 epochs each: stopped, resumed, pruned, traversed
    python tests/benchmarks/methods.py mnist --data-root DIR …             5 epochs each of the small network

Runs go through the library with the defaults of each method, one thread each; only critics are smaller here than by default: on vectors
128 units wide (wae-gan: 512, mask-aae: 1,024), on images that of mask-aae 256. Prints a Markdown table, mean ± sample standard deviation
over seeds, and writes JSON after every run; runs that the file holds already are not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

LATENT = 16
RANK, COLUMNS, SAMPLES, NOISE = 5, 32, 3000, 0.1
KINDS = {"linear": {"epochs": None, "seeds": 5}, "sprites": {"epochs": 8, "seeds": 1}, "mnist": {"epochs": 5, "seeds": 1}}
CRITIC_UNITS = {
    "linear": {"mask-aae": {"mask.units": 128}, "wae-gan": {"gan.units": 128}},
    "sprites": {"mask-aae": {"mask.units": 256}},
    "mnist": {"mask-aae": {"mask.units": 256}},
}
COLUMNS_SHOWN = {
    "axes": "active axes",
    "directions": "principal directions",
    "own": "own count",
    "share": "MSE over that of the mean",
    "mse": "validation MSE",
    "test_mse": "test MSE, all axes",
    "test_mse_active": "test MSE, active axes",
    "seconds_per_epoch": "seconds per epoch",
}


class StopAfter:
    """An observer that interrupts a run after an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def started(self, run: Any, folder: Path) -> None: ...
    def stepped(self, done: int, steps: int) -> None: ...
    def noted(self, text: str) -> None: ...

    def epoch_ended(self, record: Any) -> None:
        if record.epoch == self.epoch:
            raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("--methods", default="", help="comma-separated; all where left out")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--arch", default="auto")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from ardtool.objectives import OBJECTIVES

    methods = options.methods.split(",") if options.methods else list(OBJECTIVES)
    records = json.loads(options.out.read_text()) if options.out is not None and options.out.exists() else []
    done = {(record["method"], record["seed"]) for record in records}
    common = {"kind": options.kind, "epochs": options.epochs or KINDS[options.kind]["epochs"], "arch": options.arch}
    common["data_root"] = None if options.data_root is None else str(options.data_root)
    seeds = range(options.seeds or KINDS[options.kind]["seeds"])
    cases = [common | {"method": method, "seed": seed} for method in methods for seed in seeds if (method, seed) not in done]
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
        for record in pool.imap_unordered(measure, cases):
            records.append(record)
            records.sort(key=lambda each: (list(OBJECTIVES).index(each["method"]), each["seed"]))
            if options.out is not None:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(records, indent=1) + "\n")
    print(table([record for record in records if record["method"] in methods]))


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """One run and what is told about it."""
    import ardtool

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = settings_of(case, folder)
        out = folder / "run"
        root = None if case["data_root"] is None else Path(case["data_root"])
        if case["kind"] == "sprites":
            with contextlib.suppress(KeyboardInterrupt):
                ardtool.train(**settings, out=out, observer=StopAfter(2))
        result = ardtool.train(**settings, out=out, data_root=root, resume=True)
        own = result.own_count
        record = {name: case[name] for name in ("method", "seed", "kind", "arch")} | {
            "axes": result.active,
            "directions": ardtool.relevance(result.model, basis="principal").active,
            "own": None if own is None else len(own["axes"]),
            "constraint_met": None if own is None else own["constraint_met"],
            "reason": "" if own is None else own["reason"],
            "mse": result.validation_mse,
            "epochs": result.epochs,
            "seconds_per_epoch": result.seconds / result.epochs,
            "converged": result.converged,
            "settings": {
                key: value for key, value in settings.items() if key not in ("data", "latent", "method", "seed", "epochs", "arch")
            },
        }
        record |= further(case, result, folder, root)
    print(json.dumps(record), flush=True)
    return record


def settings_of(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    import numpy as np

    data = case["kind"]
    if data == "linear":
        data = str(folder / "x.npy")
        np.save(data, linear_data(case["seed"]))
    settings = {"data": data, "latent": LATENT, "epochs": case["epochs"], "arch": case["arch"]}
    if case["kind"] == "mnist" and case["arch"] == "auto":
        settings["arch"] = "conv"
    settings |= CRITIC_UNITS[case["kind"]].get(case["method"], {})
    return settings | {"method": case["method"], "seed": case["seed"]}


def further(case: dict[str, Any], result: Any, folder: Path, root: Path | None) -> dict[str, Any]:
    """What is told of one kind of data alone."""
    import ardtool

    if case["kind"] == "linear":
        return {"share": result.validation_mse}  # columns are standardised, so predicting the mean has an error of 1
    share = {"share": result.validation_mse / error_of_the_mean(case, root)}
    if case["kind"] == "mnist":
        metrics = ardtool.evaluate(result.model, data="mnist", metrics=["mse"], data_root=root, out=folder / "metrics.json").metrics
        return share | {"test_mse": metrics["mse"].value, "test_mse_active": metrics["mse_active"].value}
    small = ardtool.prune(result.model, out=folder / "small.safetensors")
    for model in (result.model, folder / "small.safetensors"):
        ardtool.traverse(model, out=folder / "grid.png")
        ardtool.sample(model, out=folder / "samples.png")
    return share | {"kept": len(small.kept), "prune_difference": small.max_abs_difference}


def error_of_the_mean(case: dict[str, Any], root: Path | None) -> float:
    """Mean squared error per output on the validation data of predicting the training data's mean."""
    from ardtool.data.catalogue import open_data
    from ardtool.data.dataset import split_indices

    data = open_data(case["kind"], split="train", data_root=root, image_size="auto")
    train, validation = split_indices(data, 0.1, case["seed"])
    mean = sum(data.batch(part, "cpu").sum(dim=0) for part in train.split(1000)) / len(train)
    return float(
        sum((data.batch(part, "cpu") - mean).square().flatten(1).mean(dim=1).sum() for part in validation.split(1000)) / len(validation)
    )


def linear_data(seed: int) -> Any:
    """x = W z + noise: singular values of W between 1 and 2, noise 10 % of the signal's standard deviation."""
    import numpy as np

    random = np.random.default_rng(seed)
    left, right = (np.linalg.qr(random.normal(size=(size, RANK)))[0] for size in (COLUMNS, RANK))
    signal = random.normal(size=(SAMPLES, RANK)) @ (left * np.linspace(1, 2, RANK) @ right.T).T
    return (signal + NOISE * signal.std() * random.normal(size=signal.shape)).astype(np.float32)


def table(records: list[dict[str, Any]]) -> str:
    shown = {name: title for name, title in COLUMNS_SHOWN.items() if any(record.get(name) is not None for record in records)}
    if "test_mse" in shown or records[0]["kind"] == "linear":  # there the mean has an error of 1
        shown.pop("mse", None)
    lines = [f"| method | {' | '.join(shown.values())} |", "|---" * (1 + len(shown)) + "|"]
    for method in dict.fromkeys(record["method"] for record in records):
        rows = [record for record in records if record["method"] == method]
        cells = {name: summary([row[name] for row in rows if row.get(name) is not None]) for name in shown}
        met = [row["constraint_met"] for row in rows if row["constraint_met"] is not None]
        if met:
            cells["own"] += f" (target met in {sum(met)} of {len(met)})"
        lines.append(f"| {method} | {' | '.join(cells.values())} |")
    return "\n".join(lines)


def summary(values: list[float]) -> str:
    """Mean ± sample standard deviation."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3g}{spread}"


if __name__ == "__main__":
    main()
