"""SSIM against its formula, written out window by window, and in cases with a known value."""

from __future__ import annotations

import sys

import pytest
import torch

from ardtool.errors import ConfigError, DataError
from ardtool.metrics.structural_similarity import ssim

pytest.importorskip("pytorch_msssim", reason="pytorch-msssim is not installed")
UNIT = (0.0, 1.0)


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_equal_images_have_one_and_no_others(generator):
    x = images(4, 3, 13, 16)
    torch.testing.assert_close(ssim(x, x, UNIT), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-12)
    y = x + 0.01 * torch.randn(x.shape, generator=generator)
    assert (ssim(x, y, UNIT) < 0.9999).all()


def test_the_two_images_may_be_exchanged():
    x, y = images(4, 3, 13, 16), images(4, 3, 13, 16).flip(0)
    torch.testing.assert_close(ssim(x, y, UNIT), ssim(y, x, UNIT), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.7), (0.0, 1.0), (1.0, 0.99)])
def test_constant_images_differ_in_luminance_alone(a: float, b: float):
    found = ssim(torch.full((1, 2, 11, 12), a), torch.full((1, 2, 11, 12), b), UNIT)
    a, b = (float(torch.tensor(value)) for value in (a, b))  # as float32 has them
    assert float(found) == pytest.approx((2 * a * b + 0.01**2) / (a * a + b * b + 0.01**2), rel=1e-9)


def test_the_formula_in_every_window():
    x, y = images(2, 3, 12, 14), images(2, 3, 12, 14).flip(2)
    offset = torch.arange(-5, 6, dtype=torch.float64)
    weights = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for top in range(2):
        for left in range(4):
            a, b = (each[..., top : top + 11, left : left + 11] for each in (x, y))

            def mean(value: torch.Tensor) -> torch.Tensor:
                return (weights * value).sum(dim=(2, 3), keepdim=True)

            ma, mb = mean(a), mean(b)
            va, vb, cov = mean((a - ma) ** 2), mean((b - mb) ** 2), mean((a - ma) * (b - mb))
            values.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    expected = torch.stack(values).mean(dim=0).mean(dim=(1, 2, 3))
    torch.testing.assert_close(ssim(x, y, UNIT), expected, rtol=1e-10, atol=1e-12)


def test_the_range_of_pixels_does_not_matter():
    x, y = images(2, 1, 12, 12), images(2, 1, 12, 12).flip(0)
    torch.testing.assert_close(ssim(2 * x - 1, 2 * y - 1, (-1.0, 1.0)), ssim(x, y, UNIT))


def test_an_inverted_image_is_dissimilar():
    """Deviations of opposite signs: the covariance is −σ², so that the structure term is (−2σ² + C₂)/(2σ² + C₂) < 0."""
    x = images(3, 1, 16, 16)
    assert (ssim(x, 1 - x, UNIT) < -0.5).all()


@pytest.mark.parametrize(("shape", "found"), [((2, 1, 10, 30), "1×10×30"), ((2, 3, 30, 10), "3×30×10"), ((2, 40), "40")])
def test_samples_without_a_window_are_refused(shape: tuple[int, ...], found: str):
    with pytest.raises(DataError) as caught:
        ssim(torch.zeros(shape), torch.zeros(shape), UNIT)
    assert caught.value.message == f"ssim needs images of at least 11×11 pixels; found samples of {found}."


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)
    with pytest.raises(ConfigError) as caught:
        ssim(torch.zeros(1, 1, 11, 11), torch.zeros(1, 1, 11, 11), UNIT)
    assert str(caught.value) == "ssim needs pytorch-msssim, which is not installed. Hint: `pip install pytorch-msssim`."
