"""What a trained model's file says about its training, and what a user should know before trusting the count."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict
from typing import Any

import torch

from ..latent.precision import VARIANCE_RANGE
from ..training.convergence import count_stood_still, late_beta, late_descent, late_rate
from ..training.loop import TrainingRun
from ..training.precision import float32_settings
from ..version import __version__
from .relevance import RelevanceResult

__all__ = ["relevance_record", "run_metadata", "warnings_of"]

TARGET_TOLERANCE = 0.1
LATE_DESCENT = 0.01
LATE_RATE = 0.01  # of the loss, an epoch
LATE_BETA = 0.05  # of β; its running error wavers by less


def relevance_record(scores: RelevanceResult) -> dict[str, Any]:
    """What the model file keeps of its scores, so that sampling and traversing need not measure them again."""
    shares = {axis.axis: axis.explained for axis in scores.axes}
    return {
        "threshold": scores.threshold,
        "convention": scores.convention,
        "active_axes": scores.active_axes,
        "explained": [shares[axis] for axis in range(scores.latent_dim)],
    }


def run_metadata(run: TrainingRun, identity: dict[str, Any]) -> dict[str, Any]:
    """The description of a finished run; docs/file-format.md explains the keys."""
    data, last = run.data, run.history[-1]
    return {
        "ardtool_version": __version__,
        "method": run.config.method,
        "sampler": run.objective.sampler,
        "own_count": None if (own := run.objective.own_count()) is None else asdict(own),
        "settings": run.config.to_dict(),
        "identity": identity,
        "likelihood": {"kind": run.config.likelihood, "beta": run.objective.likelihood_beta(last.validation)},
        "data": {
            "name": data.name,
            "shape": list(data.shape),
            "value_range": None if data.value_range is None else list(data.value_range),
            "standardised": data.scaling is not None,
            "samples": len(data),
            "training_samples": len(run.train),
            "validation_samples": len(run.validation),
            "alpha_samples": run.alpha_size,
            "pixel_map": None if data.pixel_map is None else list(data.pixel_map),
            "sha256": identity["data_sha256"],
            "factor_names": list(data.varying_factors),
            "notes": list(data.notes),
        },
        "training": {
            "epochs": run.epoch,
            "seed": run.config.seed,
            "seconds": sum(each.step_seconds + each.prior_seconds + each.validation_seconds for each in run.history),
            "samples_per_second": sum(each.samples for each in run.history) / sum(each.step_seconds for each in run.history),
            "validation": last.validation,
            "active_trace": [[each.epoch, each.active] for each in run.history if each.active is not None],
            "converged": count_stood_still(run.history),
            "late_descent": late_descent(run.history) if run.losses_are_comparable else None,
            "late_rate": late_rate(run.history) if run.losses_are_comparable else None,
            "late_beta": late_beta(run.history) if run.config.beta == "auto" else None,
            "device": str(run.device),
            "threads": torch.get_num_threads(),
            **float32_settings(run.config.precision, run.device),
            "clamped_axes": [int(last.state.get(f"prior_clamped_{end}", 0)) for end in ("low", "high")],
            "versions": {"ardtool": __version__, "torch": torch.__version__, "python": platform.python_version()},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        "axes": None,
    }


def warnings_of(settings: dict[str, Any], record: dict[str, Any]) -> tuple[str, ...]:
    """What a user should know before trusting the count."""
    found = []
    epochs, again = record["epochs"], f"train longer, e.g. --epochs {2 * record['epochs']} (a run of its own)"
    descent, rate = (record.get(name) or 0.0 for name in ("late_descent", "late_rate"))
    if len(record["active_trace"]) < 2:
        found.append(f"{epochs} epoch is too short to judge whether training has converged; {again}")
    elif not record["converged"]:
        found.append(f"the number of active axes still moved in the last tenth of the epochs; {again}")
    elif descent > LATE_DESCENT or rate > LATE_RATE:
        slow = f"by {100 * rate:.1f} % an epoch"
        how = f"the last tenth of the epochs brought {100 * descent:.0f} % of its descent" if descent > LATE_DESCENT else slow
        found.append(f"the validation loss was still falling ({how}), so the count may not be final; {again}")
    before, after = record.get("late_beta") or (1.0, 1.0)
    if abs(after / before - 1) > LATE_BETA:
        moved = f"it {'fell' if after < before else 'rose'} from {before:.3g} to {after:.3g} over the last tenth of the epochs"
        found.append(f"β had not settled: {moved}, so the count may not be final; {again}")
    target, reached = settings["target_mse"], record["validation"]["mse"]
    if target is not None and abs(reached / target - 1) > TARGET_TOLERANCE:
        found.append(
            f"the validation MSE is {reached:.3g}, not the {target:.3g} asked for by --target-mse; give more epochs or another target"
        )
    found += [
        f"the prior variance of {count} {'axis' if count == 1 else 'axes'} was held at its {end} bound, {bound:g}, after the last epoch; "
        f"prior_clamped_{'low' if end == 'lower' else 'high'} in history.jsonl has the count of each epoch"
        for count, end, bound in zip(record.get("clamped_axes", ()), ("lower", "upper"), VARIANCE_RANGE, strict=False)
        if count
    ]
    return tuple(found)
