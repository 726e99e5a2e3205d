r"""Structural similarity of pairs of images (SSIM), by the library pytorch-msssim.

With means μ, variances σ² and covariance σ_xy in a Gaussian window of 11×11 pixels (standard deviation 1.5, weights that sum to one):

    SSIM = (2 μ_x μ_y + C₁)(2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁)(σ_x² + σ_y² + C₂)),    C₁ = (0.01 R)²,  C₂ = (0.03 R)²

averaged over all windows that lie inside the image, and over channels. R is the width of the range of pixel values, and values are counted
from its lower end. In [-1, 1], higher is better, 1 for equal images alone.

Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004, Eq. 13-16.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ..errors import ConfigError, DataError

__all__ = ["ssim"]

WINDOW, SPREAD = 11, 1.5  # pixels


def ssim(x: Tensor, y: Tensor, value_range: tuple[float, float]) -> Tensor:
    """SSIM of each pair of images, with shape (N,), float64.

    Arguments:
        x, y: images with shape (N, C, H, W); they may be exchanged.
        value_range: the values of black and of full brightness, such as (0, 1); bringing both images to another range changes nothing.

    Raises:
        ConfigError: pytorch-msssim is not installed.
        DataError: the images are no images, or smaller than the window.
    """
    try:
        with warnings.catch_warnings():  # of torch, about the library's own decorators
            warnings.simplefilter("ignore")
            from pytorch_msssim import ssim as similarity
    except ImportError as error:
        raise ConfigError("ssim needs pytorch-msssim, which is not installed.", "`pip install pytorch-msssim`.") from error
    assert x.shape == y.shape, "a reconstruction has the shape of its image"
    if x.ndim != 4 or min(x.shape[2:]) < WINDOW:
        found = "×".join(map(str, x.shape[1:]))
        raise DataError(
            f"ssim needs images of at least {WINDOW}×{WINDOW} pixels; found samples of {found}.", "Leave ssim out, or give larger images."
        )
    device = torch.device("cpu") if x.device.type == "mps" else x.device  # which has no float64
    low, high = value_range
    x, y = ((images.to(device).double() - low) for images in (x, y))
    window = _window(x.shape[1]).to(device)
    return similarity(x, y, data_range=high - low, size_average=False, win=window)


def _window(channels: int) -> Tensor:
    """The Gaussian along one side, with shape (C, 1, 1, 11), in float64: the library's own, in float32, does not quite sum to one."""
    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-distance.square() / (2 * SPREAD**2))
    return (weights / weights.sum()).repeat(channels, 1, 1, 1)
