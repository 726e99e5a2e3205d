"""Reconstruction from posterior means: `mse`, with all axes and with inactive ones held at the aggregate mean."""

from __future__ import annotations

import math

from ...metrics.reconstruction import squared_error
from .subject import Subject
from .values import Measured, over_samples

__all__ = ["mse"]

POINT = {"codes": "posterior mean"}


def mse(subject: Subject) -> Measured:
    """Mean squared error per output, lower is better."""
    outputs, unit = math.prod(subject.data.shape), error_unit(subject)
    values = {}
    for suffix, axes, z in subject.variants():
        errors = subject.compared(z, squared_error, "reconstructing") / outputs
        values[f"mse{suffix}"] = over_samples(errors, axes, unit, "mse", POINT)
    return Measured(values)


def error_unit(subject: Subject) -> str:
    """What squared errors are measured in."""
    if subject.model.scaling is not None:
        return "standard deviations squared per output"
    return "squared pixel range per output" if subject.is_images else "squared units of the data per output"
