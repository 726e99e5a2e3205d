"""The choice between exact derivatives and the sketch: counted costs, the error they are compared at, and the sentence that says so."""

import itertools

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.sketch import choose_estimator, cost_in_forwards, sketched_norms


def test_the_counted_costs():
    assert cost_in_forwards("exact", 128, 100) == 12_800
    assert cost_in_forwards("exact", 128, 100, outputs=10) == 2_100  # reverse mode
    assert cost_in_forwards("exact", 128, 100, outputs=1000) == 12_800
    assert cost_in_forwards("sketch", 128, 100, probes=2) == 600


def test_few_axes_are_exact_and_many_are_sketched():
    few, many = choose_estimator(16, 100), choose_estimator(128, 100)
    assert (few.estimator, few.samples, few.probes) == ("exact", 100, 1)
    assert (many.estimator, many.samples, many.probes) == ("sketch", 1100, 1)
    assert (many.sketch_forwards, many.exact_forwards) == (3300, 12_800)
    costs = "for a 5 % standard error the sketch costs 3,300 decoder passes and exact derivatives at 100 codes"
    assert few.reason == f"exact: {costs} 1,600" and many.reason == f"sketch: {costs} 12,800"


def test_the_cheaper_one_is_chosen_and_exact_where_both_cost_the_same():
    assert [choose_estimator(axes, 100).estimator for axes in (32, 33, 34)] == ["exact", "exact", "sketch"]
    few_outputs = [choose_estimator(10_000, 100, outputs=outputs) for outputs in (16, 17)]  # 1 + 2 D passes a code in reverse mode
    assert [choice.estimator for choice in few_outputs] == ["exact", "sketch"]
    assert [choice.exact_forwards for choice in few_outputs] == [3300, 3500]


@pytest.mark.parametrize("available", [None, 20, 1000])
@pytest.mark.parametrize("elements", [1, 8, 64, 4096])
def test_products_are_as_few_as_the_error_allows(elements, available):
    """(v² + 2 (1 + v²) / (p r)) / N is within the error asked for, and no longer with one product fewer."""
    for samples, tolerance, variation in itertools.product((10, 100, 5000), (0.01, 0.05, 0.2), (0.0, 0.5, 2.0)):
        choice = choose_estimator(10**9, samples, available=available, elements=elements, tolerance=tolerance, variation=variation)
        spread, noise = variation**2, 2 * (1 + variation**2) / min(elements, 64)
        asked = max(tolerance**2, spread / samples * (1.25 if elements > 1 else 1))
        if choice.samples == available and (spread + noise) / available > asked:
            asked = max(asked, 1.25 * spread / available)  # what lies between codes is there, however many probes
            assert choice.probes == 1 or (spread + noise / (choice.probes - 1)) / available > asked
        elif choice.samples > 1:
            assert choice.probes == 1 and (spread + noise) / (choice.samples - 1) > asked
        assert (spread + noise / choice.probes) / choice.samples <= asked * (1 + 1e-5)
        assert choice.estimator == "sketch" and choice.sketch_forwards == 3 * choice.samples * choice.probes
        assert f"for a {100 * asked**0.5:.3g} % standard error the sketch costs {choice.sketch_forwards:,} " in choice.reason
        assert choice.samples <= (available or choice.samples)


@pytest.mark.parametrize(("elements", "available", "samples", "probes"), [(1, None, 200, 1), (1, 50, 50, 4), (8, None, 25, 1)])
def test_the_choice_reaches_the_error_it_promises(elements, available, samples, probes):
    """Equality in the bound: v = 0, many outputs of equal size, and elements of an axis that are read by outputs of their own."""
    choice = choose_estimator(10_000, 100, tolerance=0.1, variation=0.0, elements=elements, available=available)
    assert (choice.samples, choice.probes) == (samples, probes)
    matrix = torch.eye(elements).repeat_interleave(200, dim=0)
    model = ModulePair(nn.Identity(), lambda z: z @ matrix.T, (200 * elements,), elements)
    results = [
        sketched_norms(model, Posterior(torch.zeros(samples, elements)), probes=probes, generator=torch.Generator().manual_seed(number))
        for number in range(200)
    ]
    relative = torch.stack([found.weight.sum() for found in results]).std() / (200 * elements)
    assert 0.085 < relative < 0.115


def test_few_codes_take_more_probes():
    short = choose_estimator(4096, 200, available=1000, tolerance=0.05)
    assert (short.estimator, short.samples, short.probes) == ("sketch", 1000, 2)
    few = choose_estimator(4096, 1000, available=50, tolerance=0.05)  # √(1.25 v² / 50) is what 50 codes can give
    assert (few.estimator, few.samples, few.probes) == ("sketch", 50, 40) and "for a 7.91 % standard error" in few.reason
    assert choose_estimator(32, 50, available=50, tolerance=0.05).estimator == "exact"


def test_axes_of_many_elements_take_fewer_products_and_up_to_64_elements_count():
    """Signs of elements average out; between 100 codes the weights differ by v / √100 = 5 %, and 1.25 times that variance is allowed."""
    one, some, many = (choose_estimator(10**6, 100, elements=elements) for elements in (1, 64, 4096))
    assert (one.samples, some.samples, many.samples) == (1100, 93, 93)
    fine = [choose_estimator(10**6, 10_000, tolerance=0.01, elements=elements).samples for elements in (63, 64, 65)]
    assert fine == [2897, 2891, 2891]
    within = choose_estimator(4096, 100, available=100, elements=1024)
    assert within.estimator == "sketch" and (within.samples, within.probes) == (93, 1)


def test_the_authors_convention_is_always_exact():
    choice = choose_estimator(10_000, 100, convention="authors-code")
    assert (choice.estimator, choice.reason) == ("exact", "exact: the sketch is not defined for 'authors-code'")
    assert (choice.samples, choice.exact_forwards, choice.sketch_forwards) == (100, 1_000_000, float("inf"))
