"""Several processes for tests, and what they do. A module of its own, because the processes import it by name."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ardtool.data.dataset import DataSet
from ardtool.training.config import config_from
from ardtool.training.distributed import ProcessGroup
from ardtool.training.loop import TrainingRun
from ardtool.training.processes import Processes
from ardtool.training.resolve import prepare_run, resolved
from ardtool.training.state import flatten_state

__all__ = ["each", "fitted", "make_run"]

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["ardtool.training.distributed", "ardtool.training.resolve", "torch._dynamo"]
)  # imported once for all of them


def each(size: int, folder: Path, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(processes, *arguments)` returns in each of several processes that are joined by gloo."""
    queue = CONTEXT.SimpleQueue()
    members = [CONTEXT.Process(target=_member, args=(queue, folder / f"store-{size}", rank, size, work, arguments)) for rank in range(size)]
    for member in members:
        member.start()
    found = dict(queue.get() for _ in members)
    for member in members:
        member.join()
    failed = [text for succeeded, text in found.values() if not succeeded]
    assert not failed, failed[0]
    return [found[rank][1] for rank in range(size)]


def _member(queue: Any, store: Path, rank: int, size: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        group = ProcessGroup(dist.FileStore(str(store), size), rank, size)
        queue.put((rank, (True, work(group, *arguments))))
        group.close()
    except BaseException:
        queue.put((rank, (False, traceback.format_exc())))


def vectors(n: int = 400) -> DataSet:
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(10, 2, generator=generator)).Q
    return DataSet("vectors", torch.randn(n, 2, generator=generator) @ basis.T + 0.05 * torch.randn(n, 10, generator=generator))


def make_run(processes: Processes, settings: dict[str, Any]) -> TrainingRun:
    data = vectors()
    config = resolved(config_from({"latent": 4, "epochs": 2, **settings}, "test"), data)
    return prepare_run(config, data, torch.device("cpu"), processes)


def fitted(processes: Processes, settings: dict[str, Any]) -> Any:
    """The state after training, tensors as arrays, and the final variances of the axes."""
    run = make_run(processes, settings)
    run.fit(lambda record: None)
    tensors, _ = flatten_state(run.state())
    return {name: tensor.numpy() for name, tensor in tensors.items()}, run.final_codes().axis_variance.numpy(), run.history


def all_fitted(processes: Processes, settings: list[dict[str, Any]]) -> list[Any]:
    return [fitted(processes, each) for each in settings]
