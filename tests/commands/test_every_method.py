"""One set of commands for every method: a run that was stopped is resumed, scored, pruned, sampled and traversed."""

import numpy as np
import pytest

import ardtool
from ardtool.objectives import OBJECTIVES

SMALL = {"mask-aae": {"mask.units": 16}, "wae-gan": {"gan.units": 16}}


class StopAfterFirst:
    """Interrupts a run after its first epoch, as Ctrl-C does."""

    def started(self, run, folder): ...
    def stepped(self, done, steps): ...
    def noted(self, text): ...

    def epoch_ended(self, record):
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Ramps of random slope and height."""
    random, ramp = np.random.default_rng(0), np.linspace(0, 1, 8)
    values = 0.5 + 0.4 * random.uniform(-1, 1, (300, 1, 1)) * ramp[:, None] + 0.1 * random.uniform(-1, 1, (300, 1, 1)) * ramp
    path = tmp_path_factory.mktemp("data") / "ramps.npy"
    np.save(path, (255 * values).astype(np.uint8))
    return str(path)


@pytest.mark.parametrize("method", OBJECTIVES)
def test_the_commands_know_no_method(images, tmp_path, method):
    settings = {
        "data": images,
        "latent": 3,
        "method": method,
        "arch": "dense",
        "epochs": 2,
        "out": tmp_path / "run",
        **SMALL.get(method, {}),
    }
    with pytest.raises(KeyboardInterrupt):
        ardtool.train(**settings, observer=StopAfterFirst())
    result = ardtool.train(**settings, resume=True)
    assert result.epochs == 2 and not result.repeated and ardtool.relevance(result.model).method == method
    pruned = ardtool.prune(result.model, keep=2, out=tmp_path / "small.safetensors")
    assert len(pruned.kept) == 2
    for model in (result.model, tmp_path / "small.safetensors"):
        assert ardtool.sample(model, out=tmp_path / "samples.npz", n=4).shape == [4, 1, 8, 8]
        assert (tmp_path / "samples.npz").exists()
        ardtool.traverse(model, out=tmp_path / "grid.png")
