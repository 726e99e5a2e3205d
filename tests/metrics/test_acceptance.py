"""What every metric of generation keeps: order of arguments, determinism, any precision, any device."""

import math

import pytest
import torch

from ardtool.metrics.frechet import frechet, frechet_at_infinity
from ardtool.metrics.kernel_distance import kernel_distance
from ardtool.metrics.manifold import neighbour_metrics
from ardtool.metrics.precision_recall import precision_recall


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


METRICS = {
    "frechet": lambda **sides: frechet(**sides, generator=seed(0)),
    "kernel distance": lambda **sides: kernel_distance(**sides, generator=seed(0), subsets=5, subset_size=100),
    "precision and recall": lambda **sides: precision_recall(**sides, runs=2),
    "neighbours": lambda **sides: neighbour_metrics(**sides),
}
FAMILIES = ("precision and recall", "neighbours")


def numbers(found) -> dict[str, float]:
    return {name: value for name, value in vars(found).items() if isinstance(value, float)}


@pytest.fixture
def modes() -> torch.Tensor:
    """Ten clusters of 40 samples."""
    return (12 * torch.eye(10, dtype=torch.float64)).repeat(40, 1) + torch.randn(400, 10, dtype=torch.float64)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_collapsed_generator_is_precise_and_one_that_invents_recalls(name, modes):
    """Generated samples of two modes only; then generated samples of which a fifth is of these modes and the reference has no others."""
    two = modes.view(40, 10, 10)[:, :2].repeat(5, 1, 1).flatten(0, 1) + 0.3 * torch.randn(400, 10, dtype=torch.float64)
    collapsed = METRICS[name](generated=two, reference=modes)
    assert collapsed.precision > 0.9 and collapsed.recall < 0.35
    inventive = METRICS[name](generated=modes, reference=two)
    assert inventive.recall > 0.9 and inventive.precision < 0.35


@pytest.mark.parametrize("function", [frechet, frechet_at_infinity, kernel_distance, precision_recall, neighbour_metrics])
def test_the_sides_are_named(function, modes):
    with pytest.raises(TypeError, match="positional"):
        function(modes, modes)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
class TestEveryMetric:
    def test_the_same_seed_gives_the_same_numbers(self, metric, modes):
        assert numbers(metric(generated=modes[:200], reference=modes[200:])) == numbers(
            metric(generated=modes[:200], reference=modes[200:])
        )

    def test_float32_and_float64(self, metric, modes):
        double = numbers(metric(generated=modes[:200], reference=modes[200:]))
        single = numbers(metric(generated=modes[:200].float(), reference=modes[200:].float()))
        assert single == pytest.approx(double, rel=1e-3, abs=1e-6)

    def test_half_precision_is_taken(self, metric, modes):
        for kind in (torch.float16, torch.bfloat16):
            found = numbers(metric(generated=modes[:200].to(kind), reference=modes[200:].to(kind)))
            assert found and all(map(math.isfinite, found.values()))

    def test_features_that_need_a_gradient_are_taken(self, metric, modes):
        found = numbers(metric(generated=modes[:200].requires_grad_(), reference=modes[200:]))
        assert all(map(math.isfinite, found.values()))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_cuda_gives_the_same_numbers(self, metric, modes):
        on_cpu = numbers(metric(generated=modes[:200], reference=modes[200:]))
        found = numbers(metric(generated=modes[:200].cuda(), reference=modes[200:].cuda()))
        assert found == pytest.approx(on_cpu, rel=1e-6, abs=1e-9)


def test_two_halves_of_one_data_set_set_the_floor(modes):
    """What equal distributions score: no distance beyond its error bars, and precision and recall near their best."""
    shuffled = modes[torch.randperm(400, generator=seed(1))]
    sides = {"generated": shuffled[:200], "reference": shuffled[200:]}
    distance = frechet(**sides, generator=seed(0))
    assert abs(distance.value - distance.bias) < 4 * distance.stderr
    kernel = kernel_distance(**sides, generator=seed(0))
    assert abs(kernel.value) < 4 * kernel.stderr
    scores = precision_recall(**sides)
    assert min(scores.precision, scores.recall) > 0.85
    near = neighbour_metrics(**sides)
    assert abs(near.coverage - near.expected_coverage) < 6 * near.coverage_stderr
