"""How many codes a measurement takes: as many as are asked for, until a tolerance is met, and within a memory limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import ardtool
from ardtool.errors import ConfigError


def curved(latent_dim: int = 6) -> ardtool.ModulePair:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(latent_dim, 32), nn.Tanh(), nn.Linear(32, 40))
    return ardtool.ModulePair(nn.Identity(), decoder, (latent_dim,), latent_dim)


@pytest.mark.parametrize("estimator", ["exact", "sketch", "sobol", "auto"])
@pytest.mark.parametrize("tolerance", [0.1, 0.04])
def test_codes_are_drawn_until_the_tolerance_is_met(estimator, tolerance):
    found = ardtool.relevance(curved(), data=torch.randn(6000, 6), estimator=estimator, tolerance=tolerance, threshold=0.9)
    assert found.estimator["relative_error"] <= tolerance and not found.warnings
    half = found.estimator["samples"] // 2
    if half >= 64:  # half as many were not enough: the number drawn doubles until they are
        fewer = ardtool.relevance(curved(), data=torch.randn(6000, 6), estimator=found.estimator["name"], samples=half // 2, threshold=0.9)
        errors = [axis.score_stderr / axis.score for axis in fewer.axes if axis.active]
        assert max(errors) > tolerance


def test_the_reason_counts_the_codes_that_a_tolerance_takes():
    found = ardtool.relevance(curved(), data=torch.randn(6000, 6), tolerance=0.02, threshold=0.9)
    assert "for a 2 % standard error" in found.estimator["reason"] and "at 625 codes 3,750" in found.estimator["reason"]


def test_images_that_are_resized_for_a_foreign_model_are_said_to_be(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 12, 12, 1), dtype=np.uint8))
    model = ardtool.ModulePair(
        nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), nn.Sequential(nn.Linear(3, 36), nn.Unflatten(1, (1, 6, 6))), (1, 6, 6), 3
    )
    assert any("resized from 12x12 to 6x6" in warning for warning in ardtool.relevance(model, data=str(tmp_path / "x.npy")).warnings)


def test_a_tolerance_that_the_codes_cannot_meet_is_said():
    found = ardtool.relevance(curved(), data=torch.randn(40, 6), estimator="sketch", tolerance=0.01)
    assert found.estimator["samples"] == 40 and found.estimator["relative_error"] > 0.01
    assert "with all 40 codes there are, above the tolerance of 1 %; give more codes with --data." in found.warnings[0]
    assert found.to_dict()["warnings"] == list(found.warnings)


def test_the_authors_convention_meets_a_tolerance_too():
    found = ardtool.relevance(curved(), data=torch.randn(3000, 6), convention="authors-code", tolerance=0.05)
    assert found.estimator["relative_error"] <= 0.05


def test_more_codes_than_a_model_file_holds_come_from_data(tmp_path):
    np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(3000, 6)))
    for codes in ({"data": torch.randn(3000, 6)}, {"latents": tmp_path / "z.npy"}, {"assume_prior": True}):
        assert ardtool.relevance(curved(), samples=2500, estimator="exact", **codes).estimator["samples"] == 2500
    with pytest.raises(ConfigError, match=r"--samples is 3001; there are 3000 reference codes\. Hint: Use --samples 3000 or fewer\."):
        ardtool.relevance(curved(), samples=3001, latents=tmp_path / "z.npy")


def test_auto_needs_no_derivatives_where_there_are_none():
    weight = torch.randn(300, 5, generator=torch.Generator().manual_seed(0)).numpy()

    class Outside(nn.Module):
        """A decoder in NumPy, which torch cannot differentiate."""

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.tanh(z.detach().numpy()) @ weight.T)

    model = ardtool.ModulePair(nn.Identity(), Outside(), (300,), 5)
    narrow = ardtool.relevance(model, assume_prior=True, samples=50)
    assert narrow.estimator["derivatives"] == "central differences"
    assert "central differences, good to about 0.1 %" in narrow.warnings[0]
    wide = ardtool.ModulePair(nn.Identity(), nn.Sequential(Spread(), Outside()), (300,), 400)
    found = ardtool.relevance(wide, assume_prior=True)
    assert found.estimator["name"] == "sobol" and found.estimator["reason"].startswith("sobol: The decoder cannot be differentiated")
    assert found.active <= 5


class Spread(nn.Module):
    """The first five of many axes."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z[:, :5]


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1])
def test_a_tolerance_out_of_its_range_is_refused(value):
    with pytest.raises(ConfigError, match=r"--tolerance is .*; expected a share in"):
        ardtool.relevance(curved(), assume_prior=True, tolerance=value)


def test_a_memory_limit_does_not_change_the_answer():
    from ardtool.commands.memory import resident_bytes

    free = ardtool.relevance(curved(), assume_prior=True, estimator="exact")
    tight = ardtool.relevance(curved(), assume_prior=True, estimator="exact", max_memory=resident_bytes() + 200 * 2**20)
    assert [axis.axis for axis in free.axes] == [axis.axis for axis in tight.axes]
    for one, other in zip(free.axes, tight.axes, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-5)
    with pytest.raises(ConfigError, match=r"--max-memory 10MiB: program and model already take"):
        ardtool.relevance(curved(), assume_prior=True, max_memory="10MiB")
