r"""`Processes` for several of them, over torch.distributed: gloo for what lies on the CPU, NCCL for what lies on GPUs.

A step of a global batch of B samples: process r has n_r of them and the gradient g_r of its own mean loss, and every process takes

    g = Σ_r (n_r / B) g_r

which is the gradient of the mean over B where the loss is a mean over samples. It is put together when an optimiser is about to step, so a
method may have as many networks, optimisers and passes as it likes, and may override `step`. Random numbers of a step are drawn for all B
samples by generators that are equal everywhere, and cut to a process' rows. Parameters and all else that training changes therefore stay
equal in all processes, and equal, but for rounding, to those of one process.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.overrides import TorchFunctionMode

from ..autoencoder import Posterior
from ..errors import ArdtoolError, ConfigError, DataError, TrainingError, first_line
from ..networks.build import NetworkAutoencoder
from .processes import ProcessEnded, Processes, Shard
from .whole_batch import over_whole_batches, summed

__all__ = ["ProcessGroup", "WholeBatchNoise"]

PATIENCE = timedelta(minutes=30)  # that one process waits for another in a collective operation
LAST_WORDS = 2.0  # seconds in which processes that are alive say so when one is missed
POLL = 0.05
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}

T = TypeVar("T")
_joins = itertools.count()


class ProcessGroup(Processes):
    """This process among several.

    Arguments:
        store: where they leave words for each other, also while a collective operation hangs.
        rank, size: which one this is, of how many.
        device: the device of this process.
        machine: the number of its machine.
        leads_machine: whether it is the first process there.
    """

    def __init__(
        self, store: Store, rank: int, size: int, device: str = "cpu", *, machine: str = "0", leads_machine: bool | None = None
    ) -> None:
        super().__init__(device)
        self.rank, self.size = rank, size
        self._store = PrefixStore("words", store.clone())
        self._machine = machine
        self._leads_machine = rank == 0 if leads_machine is None else leads_machine
        self._shard = self.shard(size)
        self._claimed: bool | None = None
        self._claiming = threading.Lock()
        backend = BACKENDS[torch.device(device).type]
        dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=size, timeout=PATIENCE)

    @classmethod
    def from_environment(cls, device: str) -> ProcessGroup:
        """Join the processes that `torchrun` started.

        Raises:
            ConfigError: they cannot use this device.
            TrainingError: they do not find each other, or torch.distributed is in use already.
        """
        local = int(os.environ.get("LOCAL_RANK", "0"))
        device = _device_of(device, local, os.environ.get("LOCAL_WORLD_SIZE", "several"))
        if dist.is_initialized():
            raise TrainingError("torch.distributed is in use already.", "Let ardtool join the processes: do not initialise it before.")
        try:
            store, rank, size = _rendezvous()
            # a store outlives a run, and torchrun's the processes that it starts again
            store = PrefixStore(f"ardtool-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{next(_joins)}", store)
            return cls(store, rank, size, device, machine=os.environ.get("GROUP_RANK", "0"), leads_machine=local == 0)
        except (dist.DistError, RuntimeError, ValueError) as error:
            raise TrainingError(f"The processes did not find each other: {first_line(error)}.", "Start them with torchrun.") from error

    def close(self) -> None:
        """Part from the others, when all are done."""
        dist.all_reduce(torch.zeros(1))
        dist.destroy_process_group()

    def in_turn(self, work: Callable[[], T]) -> T:
        if self._leads_machine:
            try:
                return work()
            finally:
                self._store.set(f"prepared on {self._machine}", "")
        while not self._store.check([f"prepared on {self._machine}"]):
            time.sleep(POLL)
        return work()

    def on_first(self, work: Callable[[], T]) -> T:
        outcome = [_outcome(work) if self.is_first else None]
        dist.broadcast_object_list(outcome)
        return _results(outcome)[0]

    def everywhere(self, work: Callable[[], T]) -> list[T]:
        outcomes: list[Any] = [None] * self.size
        dist.all_gather_object(outcomes, _outcome(work))
        return _results(outcomes)

    def agree(self, settings: Mapping[str, Any]) -> None:
        everybodys = self.everywhere(lambda: dict(settings))
        for rank, others in enumerate(everybodys):
            names = [name for name, value in everybodys[0].items() if others.get(name) != value]
            if names == ["data_sha256"]:
                raise DataError(f"Process {rank} reads other data than process 0.", "Give every machine the same data.")
            if names:
                values = f"process 0 has {names[0]} {everybodys[0][names[0]]}, process {rank} has {others.get(names[0])}"
                raise ConfigError(f"The processes have different settings: {values}.", "Start all with the same command.")

    @contextmanager
    def sharing(self, shard: Shard) -> Iterator[None]:
        before, self._shard = self._shard, shard
        try:
            if shard.is_whole:
                yield
            else:
                with WholeBatchNoise(shard):
                    yield
        finally:
            self._shard = before

    def gather_rows(self, rows: Tensor, shard: Shard) -> Tensor:
        if shard.is_whole:
            return rows
        counts = [len(range(shard.samples)[Shard.of(shard.samples, rank, self.size).rows]) for rank in range(self.size)]
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        everybodys = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(everybodys, padded)
        return torch.cat([theirs[:count] for theirs, count in zip(everybodys, counts, strict=True)])

    def gather_codes(self, codes: Posterior, shard: Shard) -> Posterior:
        parts = (None if part is None else self.gather_rows(part, shard) for part in (codes.mean, codes.log_variance, codes.context))
        mean, log_variance, context = parts
        assert mean is not None, "every posterior has means"
        return Posterior(mean, log_variance, context)

    def total(self, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        sums = torch.tensor([float(value) for value in values.values()], dtype=torch.float64)
        dist.all_reduce(sums)
        return dict(zip(values, sums.tolist(), strict=True))

    def mean(self, part: Tensor) -> Tensor:
        return summed(part * self._shard.weight, self._shard.weight)

    def rows(self, part: Tensor) -> Tensor:
        if self._shard.is_whole:
            return part
        before, after = self._shard.rows.start, self._shard.samples - self._shard.rows.stop
        zeros = part.new_zeros(1, *part.shape[1:])
        padded = torch.cat([zeros.expand(before, *part.shape[1:]), part, zeros.expand(after, *part.shape[1:])])
        return summed(padded, self._shard.weight)

    def synchronise(self, model: NetworkAutoencoder, optimisers: list[torch.optim.Optimizer], *, second_derivatives: bool) -> None:
        if torch.device(self.device).type == "cuda" and not second_derivatives:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        else:
            over_whole_batches(model)
        for optimiser in optimisers:
            optimiser.register_step_pre_hook(self._average_gradients)

    def _average_gradients(self, optimiser: torch.optim.Optimizer, *_: Any) -> None:
        """g = Σ_r (n_r / B) g_r, for all parameters of an optimiser at once."""
        parameters = (parameter for group in optimiser.param_groups for parameter in group["params"])
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients]).mul_(self._shard.weight)
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def claim(self) -> bool:
        with self._claiming:
            if self._claimed is None:
                try:
                    self._store.set(f"rank {self.rank} is alive", "")
                    self._claimed = self._store.add("claims", 1) == 1
                except (dist.DistError, RuntimeError):  # the store is gone: better said twice than never
                    self._claimed = True
            return self._claimed

    def lost(self) -> ProcessEnded:
        """Names the process that ended, where it is one and this process is the one that speaks."""
        missing = self._missing() if self.claim() else []
        who = f"Process {missing[0]} of {self.size} (counted from 0)" if len(missing) == 1 else "Another process"
        ended = f"{who} ended." if missing else f"All {self.size} processes were told to end."
        return ProcessEnded(ended, "Start them again.")

    def _missing(self) -> list[int]:
        """The ranks from which no word comes."""
        until = time.monotonic() + LAST_WORDS
        missing = list(range(self.size))
        try:
            while missing and time.monotonic() < until:
                missing = [rank for rank in missing if not self._store.check([f"rank {rank} is alive"])]
                time.sleep(POLL)
        except (dist.DistError, RuntimeError):
            return []
        return missing

    def is_loss(self, error: BaseException) -> bool:
        """Whether an error is that of a collective operation whose other side is gone."""
        return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


class WholeBatchNoise(TorchFunctionMode):
    """Inside, `torch.randn` and `torch.rand` with a generator, asked for as many rows as this process has of a batch, draw them for the
    whole batch and give this process' own. Samples are in the first dimension; in the second of three, where several draws are made."""

    def __init__(self, shard: Shard) -> None:
        super().__init__()
        self._samples, self._rows = shard.samples, shard.rows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (func is not torch.randn and func is not torch.rand) or kwargs.get("generator") is None:
            return func(*args, **kwargs)
        shape = list(args if isinstance(args[0], int) else args[0])
        own = self._rows.stop - self._rows.start
        dimension = 1 if len(shape) == 3 else 0
        if shape[dimension] != own:
            return func(*args, **kwargs)
        shape[dimension] = self._samples
        return func(*shape, **kwargs).narrow(dimension, self._rows.start, own).contiguous()


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except ArdtoolError as error:
        return error


def _results(outcomes: list[Any]) -> list[Any]:
    """The outcomes themselves, or the first of them that is an error, raised."""
    for outcome in outcomes:
        if isinstance(outcome, ArdtoolError):
            raise outcome
    return outcomes


@cache
def _rendezvous() -> tuple[Store, int, int]:
    """The store that all processes of this environment share, this one's rank, and how many they are."""
    return next(rendezvous("env://", timeout=PATIENCE))


def _device_of(device: str, local: int, count: str) -> str:
    """The device of the process with a rank on its machine, as one of `count` there."""
    if device == "auto" and not torch.cuda.is_available():
        return "cpu"
    if device in ("auto", "cuda") and torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        if local >= gpus:
            raise ConfigError(
                f"There are {count} processes and {gpus} GPUs on this machine.", f"Use --nproc-per-node {gpus}, or --device cpu."
            )
        torch.cuda.set_device(local)
        return f"cuda:{local}"
    if device.startswith(("cuda:", "mps")):
        raise ConfigError(f"--device {device} is one device, and there are {count} processes.", "Use --device cuda, or --device cpu.")
    return device
