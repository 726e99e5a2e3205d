"""What TensorBoard reads: every epoch once, also of a run that was continued; scores and pictures; one line where it is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import ardtool
from ardtool.errors import ConfigError
from ardtool.training.interruption import Interrupted

events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")


def read(run: Path) -> events.EventAccumulator:
    found = events.EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


@pytest.fixture
def blobs(tmp_path: Path) -> str:
    random = np.random.default_rng(0)
    height, width = np.mgrid[:16, :16]
    x, y = random.uniform(3, 13, (2, 120, 1, 1))
    np.save(tmp_path / "blobs.npy", np.exp(-((height - y) ** 2 + (width - x) ** 2) / 6).astype(np.float32))
    return str(tmp_path / "blobs.npy")


def test_scalars_scores_and_pictures_of_images(blobs, tmp_path):
    result = ardtool.train(data=blobs, latent=3, epochs=3, batch_size=40, out=tmp_path / "run", tensorboard=True)
    found = read(tmp_path / "run")
    history = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    losses = found.Scalars("validation/loss")
    assert [each.step for each in losses] == [1, 2, 3] == list(range(1, len(history) + 1))
    assert f'"loss": {losses[-1].value:.3f}'[:12] in history[-1]
    assert {"training/kl", "state/prior_variance_min", "optimiser/lr", "relevance/active"} <= set(found.Tags()["scalars"])
    assert found.Scalars("relevance/active")[-1].value <= 3
    assert found.Tags()["histograms"] == ["relevance/score"]
    assert set(found.Tags()["images"]) == {"samples", "traversal"}
    picture = found.Images("traversal")[-1]
    assert (picture.width, picture.height) == (9 * 18, 3 * 18)
    assert result.active >= 1


def test_a_run_that_is_continued_has_every_epoch_once(vectors_file, tmp_path):
    class Stop:
        started = stepped = noted = lambda *_: None

        def epoch_ended(self, record):
            if record.epoch == 2:
                raise Interrupted(2)

    settings = {"data": str(vectors_file), "latent": 3, "epochs": 4, "out": tmp_path / "run", "tensorboard": True}
    with pytest.raises(Interrupted):
        ardtool.train(**settings, observer=Stop())
    ardtool.train(**settings, resume=True)
    assert [each.step for each in read(tmp_path / "run").Scalars("training/loss")] == [1, 2, 3, 4]


def test_the_result_is_the_same_with_and_without(vectors_file, tmp_path):
    settings = {"data": str(vectors_file), "latent": 3, "epochs": 3}
    runs = [ardtool.train(**settings, out=tmp_path / str(log), tensorboard=log) for log in (False, True)]
    first, second = (ardtool.load_model(run.model).autoencoder.state_dict() for run in runs)
    assert all(first[name].equal(second[name]) for name in first)


def test_one_line_where_it_is_missing(vectors_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="--tensorboard needs tensorboard, which is not installed") as caught:
        ardtool.train(data=str(vectors_file), latent=3, epochs=1, out=tmp_path / "run", tensorboard=True)
    assert "pip install tensorboard" in caught.value.hint
    assert not (tmp_path / "run").exists()
