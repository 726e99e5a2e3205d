"""Laws of standardisation, splits, batches and names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ardtool.data.dataset import DataSet, Scaling, check_samples, name_of, split_indices
from ardtool.errors import DataError


def columns(n: int = 400) -> torch.Tensor:
    """Columns with very different means and widths, with shape (n, 4); the last one is constant."""
    noise = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return noise * torch.tensor([1.0, 1e-3, 50.0, 0.0]) + torch.tensor([0.0, 5e-3, -300.0, 7.25])


def images(n: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.arange(n * 12).remainder(256).reshape(n, 3, 2, 2).to(dtype)


def test_standardised_columns_have_mean_0_and_deviation_1():
    values = columns()
    scaling = Scaling.fit(values)
    standard = DataSet("v", values).standardised(scaling).values.double()
    torch.testing.assert_close(standard[:, :3].mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard[:, :3].std(dim=0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5, rtol=0)
    assert scaling.scale[3] == 1
    assert (standard[:, 3] == 0).all()


def test_undo_reverses_apply():
    values = columns()
    scaling = Scaling.fit(values)
    torch.testing.assert_close(scaling.undo(scaling.apply(values)), values.double(), atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e3, 1e-3])
def test_units_do_not_matter(unit: float):
    values = columns()
    expected = Scaling.fit(values).apply(values)
    torch.testing.assert_close(Scaling.fit(values * unit).apply(values * unit), expected, atol=2e-5, rtol=1e-4)


def test_a_large_constant_column_is_constant_in_spite_of_rounding():
    values = torch.full((50, 1), 1.1e6)
    values[::2] = torch.nextafter(values[::2], torch.tensor(torch.inf))  # the next float32 number
    assert values.std() > 0
    assert Scaling.fit(values).scale.item() == 1


def test_timestamps_that_differ_by_seconds_are_not_constant():
    seconds = torch.arange(100, dtype=torch.float64)
    values = torch.stack([1.7e9 + seconds, 1.7e18 + 1e9 * seconds], dim=1)
    data = DataSet("t", values)
    scaling = Scaling.fit(values)
    expected = (seconds - seconds.mean()) / seconds.std(correction=0)
    standard = data.standardised(scaling)
    torch.testing.assert_close(standard.values, expected.float()[:, None].expand(-1, 2), atol=1e-5, rtol=1e-5)
    assert standard.batch(slice(None)).dtype == torch.float32
    back = scaling.undo(standard.values)
    assert back.dtype == torch.float64
    torch.testing.assert_close(back[:, 0] - 1.7e9, seconds, atol=1e-4, rtol=0)


def test_standardising_again_replaces_the_first_scaling():
    data, scaling = DataSet("v", columns()), Scaling.fit(columns())
    again = data.standardised(Scaling(torch.full((4,), 3.0), torch.full((4,), 0.5))).standardised(scaling)
    torch.testing.assert_close(again.values[:, :3], data.standardised(scaling).values[:, :3], atol=2e-2, rtol=0)


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.999])
def test_splits_are_disjoint_cover_everything_and_follow_the_seed(fraction: float):
    data = DataSet("v", columns(100))
    train, held_out = split_indices(data, fraction, seed=5)
    assert torch.equal(torch.cat([train, held_out]).sort().values, torch.arange(100))
    assert len(held_out) == min(max(1, round(100 * fraction)), 99)
    again = split_indices(data, fraction, seed=5)
    assert torch.equal(again[0], train)
    assert torch.equal(again[1], held_out)


def test_another_seed_is_another_split():
    data = DataSet("v", columns(100))
    assert not torch.equal(split_indices(data, 0.5, seed=5)[0], split_indices(data, 0.5, seed=6)[0])


def test_official_split_is_the_end():
    train, held_out = split_indices(DataSet("v", columns(100), validation=30), 0.5, seed=1)
    assert torch.equal(train, torch.arange(70))
    assert torch.equal(held_out, torch.arange(70, 100))


@pytest.mark.parametrize("official", [0, 30])
def test_some_samples_are_a_random_part_of_each_side(official: int):
    data = DataSet("v", columns(100), validation=official)
    train, held_out = split_indices(data, 0.3, 5)
    some, few = split_indices(data, 0.3, 5, 20)
    assert (len(some), len(few)) == (20, 2)
    assert set(some.tolist()) < set(train.tolist())
    assert set(few.tolist()) < set(held_out.tolist())
    assert not torch.equal(some, train[:20])
    assert torch.equal(some, some.sort().values)
    more = split_indices(data, 0.3, 5, 40)
    assert set(some.tolist()) < set(more[0].tolist())
    assert set(few.tolist()) < set(more[1].tolist())
    assert not torch.equal(split_indices(data, 0.3, 6, 20)[0], some)


def test_some_samples_keep_one_for_validation_and_no_more_than_there_are():
    data = DataSet("v", columns(100))
    assert [len(part) for part in split_indices(data, 0.3, 5, 3)] == [3, 1]
    assert [len(part) for part in split_indices(data, 0.05, 5, 90)] == [90, 5]
    assert torch.equal(split_indices(data, 0.3, 5, 70)[0], split_indices(data, 0.3, 5)[0])


def test_more_samples_than_there_are(sentence):
    text = sentence(split_indices, DataSet("v", columns(100)), 0.3, 5, 71, kind=DataError)
    assert text.startswith("'v' has 70 samples to train on; found --samples 71.")
    assert "Leave --samples out to train on all." in text


@pytest.mark.parametrize(("value_range", "low", "high"), [((0.0, 1.0), 0.0, 1.0), ((-1.0, 1.0), -1.0, 1.0)])
def test_batches_of_bytes_span_the_value_range(value_range: tuple[float, float], low: float, high: float):
    data = DataSet("i", images(43), value_range=value_range)
    batch = data.batch(torch.arange(43))
    assert batch.dtype == torch.float32
    assert batch.shape == (43, 3, 2, 2)
    assert (batch.min().item(), batch.max().item()) == (low, high)
    back = (batch - low) / (high - low) * 255
    torch.testing.assert_close(back, data.values.float(), atol=1e-3, rtol=0)
    assert torch.equal(data.values, images(43))  # the stored bytes are untouched


def test_batches_of_vectors_are_the_values():
    data = DataSet("v", columns(10))
    assert torch.equal(data.batch(torch.tensor([7, 2])), columns(10)[[7, 2]])
    assert torch.equal(data.batch(slice(0, 3)), columns(10)[:3])
    assert not data.is_images
    assert data.shape == (4,)
    assert len(data) == 10


def test_hash_sees_values_shape_and_type():
    hashes = {DataSet("i", values).sha256() for values in (images(4), images(4).flip(0), images(4).reshape(4, 12), images(4).float())}
    assert len(hashes) == 4
    assert DataSet("other", images(4)).sha256() in hashes


@pytest.mark.parametrize(("n", "said"), [(0, "holds 0 samples"), (1, "holds 1 sample;")])
def test_too_few_samples(n: int, said: str, sentence):
    data = DataSet("few", columns()[:n])
    assert f"'few' {said}" in sentence(split_indices, data, 0.1, 0, kind=DataError)
    text = sentence(check_samples, data, kind=DataError)
    assert f"'few' {said}" in text
    assert "more samples" in text


@pytest.mark.parametrize("n", [2, 2500])
def test_equal_samples_are_refused_and_one_difference_is_enough(n: int, sentence):
    values = images(1).repeat(n, 1, 1, 1)
    assert f"'same' does not vary: all {n} samples are equal." in sentence(check_samples, DataSet("same", values), kind=DataError)
    values[-1, 0, 0, 0] += 1
    data = DataSet("nearly", values)
    assert check_samples(data) is data


def test_names_are_safe(tmp_path: Path):
    (tmp_path / "v1.0 final").mkdir()
    assert name_of(tmp_path / "v1.0 final") == "v1.0-final"
    assert name_of(tmp_path / "my données (1).npy") == "my-donn-es-1"
    assert name_of(tmp_path / "???.npy") == "data"
    assert name_of(tmp_path / "codes_2.tar.zip") == "codes_2.tar"
    assert name_of(tmp_path / "codes.2.TAR.gz") == name_of(tmp_path / "codes.2.csv.gz") == name_of(tmp_path / "codes.2.tgz") == "codes.2"


def test_the_hash_does_not_depend_on_how_the_values_lie_in_memory():
    values = torch.randint(256, (2500, 5, 4, 3), dtype=torch.uint8)
    assert DataSet("x", values.permute(0, 3, 1, 2)).sha256() == DataSet("x", values.permute(0, 3, 1, 2).contiguous()).sha256()
