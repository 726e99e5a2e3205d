"""Reconstruction from posterior means, with all axes and with inactive ones held at the aggregate mean; and over the number of axes."""

from __future__ import annotations

import math
from importlib.util import find_spec

from torch import Tensor

from ...metrics.reconstruction import curve_counts, held_decoders, squared_error
from ...metrics.reconstruction import psnr as peak_signal_to_noise
from ...metrics.structural_similarity import ssim as similarity
from ..pruning.measure import reconstruction_errors
from .subject import Subject
from .values import Measured, over_samples

__all__ = ["image_problem", "mse", "mse_curve", "psnr", "ranking_problem", "similarity_problem", "ssim"]

POINT = {"codes": "posterior mean"}


def image_problem(subject: Subject) -> str:
    """What data lack to be images; "" where nothing."""
    return "" if subject.is_images else "images"


def similarity_problem(subject: Subject) -> str:
    """What is missing to compare images by structure; "" where nothing."""
    installed = find_spec("pytorch_msssim") is not None
    return image_problem(subject) or ("" if installed else "pytorch-msssim: pip install pytorch-msssim")


def ranking_problem(subject: Subject) -> str:
    """What a model lacks to have its axes ranked; "" where nothing."""
    return "" if subject.codes is not None else "more than one sample"


def mse(subject: Subject) -> Measured:
    """Mean squared error per output, lower is better."""
    unit = error_unit(subject)
    return Measured(
        {f"mse{suffix}": over_samples(errors, axes, unit, "mse", POINT) for suffix, axes, errors in _errors_per_output(subject)}
    )


def psnr(subject: Subject) -> Measured:
    """Peak signal-to-noise ratio of each image, averaged in dB; higher is better."""
    low, high = _range(subject)
    values = {}
    for suffix, axes, errors in _errors_per_output(subject):
        values[f"psnr{suffix}"] = over_samples(peak_signal_to_noise(errors, high - low), axes, "dB, higher is better", "psnr", POINT)
    return Measured(values)


def ssim(subject: Subject) -> Measured:
    """Structural similarity, up to 1, higher is better."""
    low, high = _range(subject)
    values = {}
    for suffix, axes, z in subject.variants():
        found = subject.compared(z, lambda reconstruction, x: similarity(reconstruction, x, (low, high)), "structural similarity")
        values[f"ssim{suffix}"] = over_samples(found, axes, "up to 1, higher is better", "ssim", POINT | {"window": "Gaussian, 11 pixels"})
    return Measured(values)


def mse_curve(subject: Subject) -> Measured:
    """The error over the number k of axes kept, by descending relevance, as `curves.mse`."""
    codes, model = subject.codes, subject.network
    assert codes is not None and subject.active is not None, "checked by `ranking_problem`"
    axes = subject.model.latent_axes
    counts = curve_counts(axes.count, include=[len(subject.active), axes.count])
    mean = codes.statistics.mean.float().to(subject.device)
    decoders = held_decoders(model.decode, subject.ranked, mean, counts, axes)
    errors = reconstruction_errors(model, subject.data, subject.posterior, decoders, subject.device, subject.index)
    rows = [{"k": k, "mse": error, "n": len(subject.index)} for k, error in zip(counts, errors, strict=True)]
    return Measured(curves={"mse": rows})


def error_unit(subject: Subject) -> str:
    """What squared errors are measured in."""
    if subject.model.scaling is not None:
        return "standard deviations squared per output"
    return "squared pixel range per output" if subject.is_images else "squared units of the data per output"


def _errors_per_output(subject: Subject) -> list[tuple[str, str, Tensor]]:
    """(suffix, axes, mean squared errors of the samples with shape (N,)); decoded once for all metrics that use them."""
    outputs = math.prod(subject.data.shape)
    return subject.once(
        "errors",
        lambda: [(suffix, axes, subject.compared(z, squared_error, "reconstructing") / outputs) for suffix, axes, z in subject.variants()],
    )


def _range(subject: Subject) -> tuple[float, float]:
    return subject.data.value_range or (0.0, 1.0)
