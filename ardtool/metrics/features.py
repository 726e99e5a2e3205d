"""Features: what a network makes of samples, one row each. Checks and conversions that all metrics on them share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import DataError

__all__ = ["check_features", "check_pair", "double", "double_parts"]

PART_BYTES = 64 * 2**20


def check_features(features: Tensor, name: str = "given") -> None:
    """Refuse what is no table of finite features with shape (N, D); `name` says whose they are.

    Raises:
        DataError: for another shape, integers, or a value that is NaN or infinite.
    """
    if features.ndim != 2 or 0 in features.shape or not features.is_floating_point():
        dtype = str(features.dtype).removeprefix("torch.")
        raise DataError(
            f"The {name} features are {dtype} of shape {tuple(features.shape)}; expected one row of floating-point numbers for each sample."
        )
    broken = torch.cat([~part.isfinite().all(dim=1) for part in features.split(_rows(features))])
    if broken.any():
        first = int(broken.nonzero()[0])
        raise DataError(
            f"The {name} features of {int(broken.sum())} of {len(features)} samples hold NaN or infinity; the first is row {first}.",
            "Look at these samples, or at the network that computed the features.",
        )


def check_pair(generated: Tensor, reference: Tensor) -> None:
    """Refuse features of which either side is broken, or that are not of one network.

    Raises:
        DataError: as `check_features`, and for different numbers of features.
    """
    check_features(generated, "generated")
    check_features(reference, "reference")
    if generated.shape[1] != reference.shape[1]:
        raise DataError(
            f"The generated samples have {generated.shape[1]} features, the reference has {reference.shape[1]}.",
            "Compute both with the same network.",
        )


def double(features: Tensor) -> Tensor:
    """Features with shape (N, F) in float64 without gradient, on the CPU where the device has no float64."""
    features = features.detach()
    return features.cpu().double() if features.device.type == "mps" else features.double()


def double_parts(features: Tensor) -> Iterator[Tensor]:
    """The rows in float64, at most 64 MiB at a time."""
    return map(double, features.split(_rows(features)))


def _rows(features: Tensor) -> int:
    return max(1, PART_BYTES // (8 * features.shape[1]))
