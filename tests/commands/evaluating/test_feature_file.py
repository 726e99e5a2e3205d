"""Precomputed features: what a file must hold, and one sentence for all that it must not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ardtool.commands.evaluating.feature_choice import metric_name, open_features
from ardtool.commands.evaluating.feature_file import FeatureFile, read_features
from ardtool.errors import DataError

GOOD = np.arange(12.0).reshape(4, 3)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_features(path)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value.message


def test_sets_come_by_name_and_keep_their_precision(tmp_path: Path):
    path = saved(
        tmp_path / "my features.npz",
        reference=GOOD + 1e-12,
        generated=GOOD.astype(np.float16)[:2],
        floor=GOOD.astype(np.int64),
        labels=np.zeros(4),
    )
    found = open_features(str(path), torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    assert isinstance(found, FeatureFile)
    assert list(found.sets) == ["reference", "generated", "floor"]
    assert {name: features.dtype for name, features in found.sets.items()} == {
        "reference": torch.float64,
        "generated": torch.float32,
        "floor": torch.float32,
    }
    np.testing.assert_array_equal(found.sets["reference"], GOOD + 1e-12)
    np.testing.assert_array_equal(found.sets["generated"], GOOD[:2])
    assert found.width == 3
    assert metric_name("fid", found) == f"fd[my-features:{found.sha256[:8]}]"
    assert found.provenance()["features_sha256"] == found.sha256


def test_another_content_has_another_name(tmp_path: Path):
    labels = {read_features(saved(tmp_path / "x.npz", reference=GOOD, generated=GOOD + shift)).label for shift in (0, 1, 1)}
    assert len(labels) == 2


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "has no array 'reference'; found nothing."),
        ({"generated": GOOD, "real": GOOD}, "has no array 'reference'; found generated, real."),
        (
            {"reference": GOOD, "x": GOOD},
            "has no array beside 'reference': one of generated, reconstructions, floor; found reference, x.",
        ),
        ({"reference": GOOD, "generated": GOOD[:, :2]}, ": 'generated' has 2 features a sample, 'reference' has 3."),
    ],
)
def test_files_without_the_right_arrays(tmp_path: Path, arrays: dict, said: str):
    path = saved(tmp_path / "x.npz", **arrays)
    assert refused(path) in (f"{path} {said}", f"{path}{said}")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (GOOD[0], "holds values of type float64 with shape 3; expected real numbers (N, F) of at least two samples."),
        (GOOD[:1], "holds values of type float64 with shape 1×3; expected real numbers (N, F) of at least two samples."),
        (GOOD[:, :0], "holds values of type float64 with shape 4×0; expected real numbers (N, F) of at least two samples."),
        (GOOD.astype(complex), "holds values of type complex128 with shape 4×3; expected real numbers (N, F) of at least two samples."),
        (GOOD.astype(str), "holds values of type <U32 with shape 4×3; expected real numbers (N, F) of at least two samples."),
        (np.where(GOOD == 7, np.nan, GOOD), "is not finite in 1 of 4 rows, first in row 2 (counted from 0)."),
        (np.where(GOOD >= 7, np.inf, GOOD), "is not finite in 2 of 4 rows, first in row 2 (counted from 0)."),
    ],
)
@pytest.mark.parametrize("name", ["reference", "generated"])
def test_arrays_that_are_no_features(tmp_path: Path, array: np.ndarray, said: str, name: str):
    path = saved(tmp_path / "x.npz", **({"reference": GOOD, "generated": GOOD} | {name: array}))
    assert refused(path) == f"The array '{name}' of {path} {said}"


def test_damaged_files_and_pickles(tmp_path: Path):
    path = tmp_path / "x.npz"
    assert refused(path) == f"--features {path} does not exist."
    path.write_bytes(b"PK\x03\x04 not really")
    assert refused(path).startswith(f"{path} cannot be read as an .npz file: ")
    saved(path, reference=GOOD, generated=GOOD.astype(object))
    assert refused(path) == f"{path} holds Python objects (a pickle) or is no .npz file; only plain numbers are read, pickles can run code."
    whole = saved(path, reference=GOOD, generated=GOOD).read_bytes()
    path.write_bytes(whole[:-150])
    assert refused(path).startswith(f"{path} cannot be read as an .npz file: ")
    with open(path, "wb") as file:
        np.save(file, GOOD)
    assert refused(path).startswith(f"{path} cannot be read as an .npz file: ")
