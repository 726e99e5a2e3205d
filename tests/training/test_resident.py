"""Where batches come from: the same numbers from every place."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ardtool.data.dataset import DataSet
from ardtool.data.dsprites_render import open_dsprites_render
from ardtool.data.shapes3d_render import open_shapes3d_render
from ardtool.training.loop import TrainingRun
from ardtool.training.resident import BatchSource, place_of

from .runs import CPU, pixels, small_run

INDEX = torch.tensor([5, 0, 77, 5, 129])


def data_sets() -> list[DataSet]:
    images = pixels(channels=3)
    floats = torch.rand(130, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    return [
        images,
        DataSet("tanh", images.tensor, (-1.0, 1.0)),
        DataSet("mapped", images.tensor.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), (0.0, 1.0)),
        DataSet("floats", floats, (0.0, 1.0)),
        DataSet("vectors", floats.flatten(1).double()),
    ]


@pytest.mark.parametrize("place", ["memory", "device", "host"])
@pytest.mark.parametrize("data", data_sets(), ids=lambda data: data.name)
def test_every_place_gives_the_same_batch(data, place):
    found = BatchSource(data, CPU, place).take(INDEX)
    assert found.dtype == torch.float32
    assert torch.equal(found, data.batch(INDEX))


def test_rows_are_copied_block_by_block(monkeypatch):
    monkeypatch.setattr("ardtool.training.resident.BLOCK", 7)
    data = pixels()
    assert torch.equal(BatchSource(data, CPU, "device").take(torch.arange(130)), data.batch(slice(None)))


@pytest.mark.parametrize("place", ["memory", "device", "host"])
def test_images_are_laid_out_as_the_network_wants_them(place):
    last = BatchSource(pixels(channels=3), CPU, place).take(INDEX)
    assert last.is_contiguous(memory_format=torch.channels_last) and not last.is_contiguous()
    assert BatchSource(pixels(channels=3), CPU, place, torch.contiguous_format).take(INDEX).is_contiguous()


def test_mps_has_images_as_they_are():
    run = SimpleNamespace(device=torch.device("mps"), model=small_run({"arch": "conv"}, pixels(channels=3)).model)
    assert TrainingRun.memory_format.fget(run) == torch.contiguous_format  # pyright: ignore[reportOptionalCall, reportAttributeAccessIssue]


@pytest.mark.parametrize(("arch", "layout"), [("conv", torch.channels_last), ("dense", torch.contiguous_format)])
def test_batches_lie_as_the_weights_do(arch, layout):
    run = small_run({"arch": arch}, pixels(channels=3))
    assert run.source.memory_format == layout
    weights = [weight for weight in run.model.parameters() if weight.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert bool(weights) == (layout == torch.channels_last)


@pytest.mark.parametrize("opened", [open_dsprites_render, open_shapes3d_render])
def test_drawn_images_are_drawn_from_indices(opened, tmp_path):
    data = opened(tmp_path, "train")
    index = torch.tensor([0, len(data) - 1, 12_345])
    assert torch.equal(BatchSource(data, CPU, "drawn").take(index), data.batch(index))


@pytest.mark.parametrize(("free", "expected"), [(2 * 130 * 192, "device"), (2 * 130 * 192 - 1, "host")])
def test_data_go_to_the_gpu_when_they_take_no_more_than_half_of_what_is_free(monkeypatch, free, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**12))
    assert place_of(pixels(channels=3), torch.device("cuda", 0)) == expected


def test_places_elsewhere(tmp_path):
    assert place_of(pixels(), CPU) == "memory"
    assert place_of(pixels(), torch.device("mps")) == "host"
    drawn = open_dsprites_render(tmp_path, "train")
    assert [place_of(drawn, torch.device(name)) for name in ("cpu", "cuda")] == ["memory", "drawn"]
