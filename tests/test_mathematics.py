"""The derivations of docs/mathematics.md, by numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import ardtool

PAGE = Path(__file__).parents[1] / "docs" / "mathematics.md"


def collapsible(parameters: np.ndarray, s: float, beta: float) -> float:
    """F(c, v) of one direction, v given by its logarithm."""
    c, v = parameters[0], np.exp(parameters[1])
    return (1 - c) ** 2 * s + v + beta / 2 * np.log((c * c * s + v) / v)


def test_precision():
    """The posterior of α from its definition, on a grid, has the shape and rate that the derivation names."""
    z = np.random.default_rng(0).normal(scale=0.7, size=40)
    a, b = len(z) / 2, (z**2).sum() / 2
    alpha = np.linspace(1e-3, 12, 200_001)
    log_density = -np.log(alpha) + sum(0.5 * np.log(alpha) - alpha * each**2 / 2 for each in z)  # p(α) ∝ 1/α: a⁰ = b⁰ = 0
    density = np.exp(log_density - log_density.max())
    mean = (density * alpha).sum() / density.sum()
    variance = (density * (alpha - mean) ** 2).sum() / density.sum()
    assert mean == pytest.approx(a / b, rel=1e-4)
    assert variance / mean**2 == pytest.approx(2 / len(z), rel=1e-3)


def test_nothing_anchors_the_scale_of_an_axis():
    mean, variance, prior = 0.3, 0.2, 0.49

    def kl(mean: float, variance: float, prior: float) -> float:
        return 0.5 * (np.log(prior / variance) - 1 + (mean**2 + variance) / prior)

    assert kl(7 * mean, 49 * variance, 49 * prior) == pytest.approx(kl(mean, variance, prior))
    assert kl(0, 3.0, 3.0) == kl(0, 5.0, 5.0) == 0


def test_the_mean_kl_is_a_half_log_ratio():
    mean, variance = np.random.default_rng(0).normal(size=1000), 0.3
    prior = (mean**2 + variance).mean()
    assert (0.5 * (np.log(prior / variance) - 1 + (mean**2 + variance) / prior)).mean() == pytest.approx(0.5 * np.log(prior / variance))


@pytest.mark.parametrize(("s", "beta"), [(1.0, 0.5), (1.0, 1.9), (0.3, 0.2), (40.0, 0.01)])
def test_what_beta_keeps_of_a_direction(s, beta):
    starts = [(c, v) for c in (0.05, 0.5, 1.0) for v in (-4.0, -1.0, 0.5)]
    found = min((minimize(collapsible, start, (s, beta), tol=1e-12) for start in starts), key=lambda each: each.fun)
    c, v = found.x[0], np.exp(found.x[1])
    assert c == pytest.approx(1 - beta / (2 * s), abs=1e-3)
    assert v == pytest.approx(c * beta / 2, abs=1e-3)
    assert c * c * s + v == pytest.approx(s - beta / 2, rel=1e-3)  # the score
    assert (1 - c) ** 2 * s + v == pytest.approx(beta / 2, abs=1e-3)  # the error
    assert found.fun < s  # better than the collapsed axis


@pytest.mark.parametrize(("s", "beta"), [(1.0, 2.0), (1.0, 2.5), (0.01, 0.2)])
def test_what_beta_lets_go(s, beta):
    values = [collapsible(np.array([c, v]), s, beta) for c in np.linspace(0, 1.2, 61) for v in np.linspace(-8, 4, 61)]
    assert min(values) >= s - 1e-9  # what the collapsed axis costs


@pytest.mark.slow
def test_a_trained_linear_model_scores_what_exceeds_beta_half(tmp_path):
    """Four directions of which three vary by more than β/2: they survive with s − β/2 each."""
    random = np.random.default_rng(0)
    variances = np.array([4, 1, 0.25, 0.02])
    basis, _ = np.linalg.qr(random.normal(size=(4, 4)))
    x = (random.normal(size=(4000, 4)) * np.sqrt(variances)) @ basis.T
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    run = ardtool.train(
        data=str(tmp_path / "x.npy"), latent=4, arch="linear", beta=0.2, epochs=40, lr=1e-2, seed=0, out=tmp_path / "run", device="cpu"
    )
    spectrum = np.sort(np.linalg.eigvalsh(np.corrcoef(x.T)))[::-1]  # columns are standardised
    expected = spectrum[spectrum > 0.1] - 0.1
    found = ardtool.relevance(run.model, basis="principal").axes
    assert run.active == len(expected) == 3
    for axis, score in zip(found, expected, strict=False):
        assert axis.score == pytest.approx(score, abs=3 * axis.score_stderr)
    assert all(axis.score < 0.01 for axis in found[len(expected) :])


def test_the_sketch():
    """Mean and variance of g² over all 2⁶ signs are the formulas exactly."""
    column = torch.tensor([0.3, -1.2, 0.7, 0.1, 2.0, -0.4], dtype=torch.float64)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 6)
    squares = (signs @ column).square()
    weight = column.square().sum()
    assert squares.mean().item() == pytest.approx(weight.item())
    assert squares.var(correction=0).item() == pytest.approx((2 * (weight**2 - column.pow(4).sum())).item())


def test_a_share_of_the_outputs_variance():
    """Codes on the corners of a box are uncorrelated with the variances of its sides; a linear decoder moves its output by Σ σ² w."""
    sides, jacobian = np.array([0.5, 2.0, 1.0]), np.random.default_rng(0).normal(size=(7, 3))
    corners = np.array(np.meshgrid(*[(-side, side) for side in sides])).reshape(3, -1)
    assert np.square(jacobian @ corners).sum(axis=0).mean() == pytest.approx((sides**2 * np.square(jacobian).sum(axis=0)).sum())


def test_the_total_effect_of_a_linear_decoder():
    """Over all pairs of a code and a donor."""
    values, column = np.array([-1.0, 0.0, 4.0]), np.array([0.3, -2.0])
    first, second = np.meshgrid(values, values)
    effects = np.square(np.multiply.outer(first - second, column)).sum(axis=-1)
    assert effects.mean() / 2 == pytest.approx((column**2).sum() * values.var())


def test_the_authors_weight_is_never_more():
    size = np.abs(np.random.default_rng(0).normal(size=(100, 50)))
    assert (size.mean(axis=1) ** 2 <= np.square(size).mean(axis=1)).all()
    assert np.full(50, 0.7).mean() ** 2 == pytest.approx(np.square(np.full(50, 0.7)).mean())


def test_folding_is_exact():
    """A layer that is affine in z, with a factor of what else it reads."""
    random = np.random.default_rng(0)
    a, b, c = random.normal(size=(4, 5)), random.normal(size=4), random.normal(size=(4, 2))

    def layer(kept: np.ndarray, dropped: np.ndarray, other: np.ndarray) -> np.ndarray:
        return a @ np.concatenate([kept, dropped]) + b + np.sin(c @ other)

    nothing, held = np.zeros(2), random.normal(size=2)
    added = layer(np.zeros(3), held, nothing) - layer(np.zeros(3), nothing, nothing)
    for _ in range(10):
        kept, other = random.normal(size=3), random.normal(size=2)
        assert layer(kept, held, other) == pytest.approx(layer(kept, nothing, other) + added)


def test_every_derivation_is_there():
    text = PAGE.read_text().split("## Derivations")[1]
    assert len(re.findall(r"^\*\*[^*]+\.\*\*", text, re.MULTILINE)) == 9
