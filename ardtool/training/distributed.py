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
import torch.distributed.nn.functional  # before there is a group: its default arguments would keep it, and threads, beyond its end
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from ..autoencoder import Posterior
from ..errors import ArdtoolError, ConfigError, DataError, TrainingError, first_line
from ..networks.build import NetworkAutoencoder
from .processes import ProcessEnded, Processes, Shard
from .whole_batch import WholeBatchNoise, over_whole_batches, summed

__all__ = ["ProcessGroup"]

PATIENCE = timedelta(minutes=30)  # that one process waits for another in a collective operation
LAST_WORDS = 2.0  # seconds in which processes that are alive say so when one is missed
POLL = 0.05
LIBRARIES = ("gloo", "NCCL")

T = TypeVar("T")
_joins = itertools.count()


class ProcessGroup(Processes):
    """This process among several. Until `start` they have no more than the store in common.

    Arguments:
        store: where they leave words for each other, also while a collective operation hangs.
        rank, size: which one this is, of how many.
        machine: the number of its machine.
        leads_machine: whether it is the first process there.
    """

    def __init__(self, store: Store, rank: int, size: int, *, machine: str = "0", leads_machine: bool | None = None) -> None:
        super().__init__()
        self.rank, self.size = rank, size
        self._store, self._words = store, PrefixStore("words", store.clone())
        self._machine = machine
        self._leads_machine = rank == 0 if leads_machine is None else leads_machine
        self._turns = 0
        self._shard = self.shard(size)
        self._claimed: bool | None = None
        self._is_joined = False
        self._claiming = threading.Lock()

    @classmethod
    def from_environment(cls) -> ProcessGroup:
        """What `torchrun` started.

        Raises:
            TrainingError: the store of all processes is not found.
        """
        try:
            store, rank, size = _rendezvous()
        except (dist.DistError, RuntimeError, ValueError) as error:
            raise TrainingError(f"The processes did not find each other: {first_line(error)}.", "Start them with torchrun.") from error
        # a store outlives a run, and torchrun's the processes that it starts again
        store = PrefixStore(f"ardtool-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{next(_joins)}", store)
        return cls(store, rank, size, machine=os.environ.get("GROUP_RANK", "0"), leads_machine=os.environ.get("LOCAL_RANK", "0") == "0")

    def start(self, device: str) -> None:
        """Meet the others.

        Raises:
            ConfigError: several processes cannot use this device.
            TrainingError: torch.distributed is in use already.
        """
        if dist.is_initialized():
            raise TrainingError("torch.distributed is in use already.", "Let ardtool join the processes: do not initialise it before.")
        self.device = _device_of(device)
        backend = "cpu:gloo,cuda:nccl" if self._is_on_gpu else "gloo"
        dist.init_process_group(backend, store=PrefixStore("group", self._store), rank=self.rank, world_size=self.size, timeout=PATIENCE)
        self._is_joined = True

    @property
    def _is_on_gpu(self) -> bool:
        return self.device.startswith("cuda:")

    def close(self) -> None:
        """Part from the others, when all are done."""
        dist.all_reduce(torch.zeros(1))
        self.leave()

    def leave(self) -> None:
        """Part from the others as things stand; those that still wait for this process learn that it is gone."""
        if self._is_joined:
            self._is_joined = False
            dist.destroy_process_group()

    def in_turn(self, work: Callable[[], T]) -> T:
        self._turns += 1
        done = f"turn {self._turns} on {self._machine}"
        if self._leads_machine:
            try:
                return work()
            finally:
                self._words.set(done, "")
        while not self._words.check([done]):
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
        if self._is_on_gpu and not second_derivatives:
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
                    self._words.set(f"rank {self.rank} is alive", "")
                    self._claimed = self._words.add("claims", 1) == 1
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
                missing = [rank for rank in missing if not self._words.check([f"rank {rank} is alive"])]
                time.sleep(POLL)
        except (dist.DistError, RuntimeError):
            return []
        return missing

    def is_loss(self, error: BaseException) -> bool:
        """Whether an error is that of a collective operation whose other side is gone."""
        named = isinstance(error, RuntimeError) and any(library in str(error) for library in LIBRARIES)
        return named or isinstance(error, dist.DistError)


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


def _device_of(device: str) -> str:
    """The device of this process: the GPU that has its number on this machine, or the CPU.

    Raises:
        ConfigError: there are too few GPUs, or one device was named for all.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.startswith(("cuda:", "mps")):
        raise ConfigError(f"--device {device} is one device for several processes.", "Use --device cuda, or --device cpu.")
    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return "cpu" if device == "auto" else device
    gpus = torch.cuda.device_count()
    if here > gpus:
        raise ConfigError(
            f"{here} processes were started on a machine with {gpus} GPU{'' if gpus == 1 else 's'}.",
            f"Use --nproc-per-node {gpus}, or --device cpu.",
        )
    number = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(number)
    return f"cuda:{number}"
