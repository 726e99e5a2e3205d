r"""Several processes at one model, as `torchrun` starts them: how samples are split over them, and what is put together again.

Of n samples process r of R has the rows ⌊r n / R⌋ to ⌊(r + 1) n / R⌋ − 1; n_r / n is the weight of a mean over its n_r rows in the mean
over all. Where some would have fewer than two (n < 2 R) each has all rows, with the weight 1/R.

`Processes` is the case of one: nothing is split and nothing is sent. `ProcessGroup` in `distributed.py`, imported only where there are
several, does the same for those. This file imports nothing heavy: the command line asks here who may print.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ArdtoolError, TrainingError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..autoencoder import Posterior
    from ..networks.build import NetworkAutoencoder

__all__ = ["ProcessEnded", "Processes", "Shard", "active", "are_several", "joined"]

T = TypeVar("T")


class ProcessEnded(TrainingError):
    """Another of several processes is gone, so this one cannot go on."""


@dataclass(frozen=True)
class Shard:
    """What one process has of n samples.

    Attributes:
        rows: its rows.
        weight: of a mean over them in the mean over all n, in (0, 1].
        samples: n.
    """

    rows: slice
    weight: float
    samples: int

    @classmethod
    def of(cls, samples: int, rank: int, size: int) -> Shard:
        """The part of process `rank` of `size`."""
        if samples < 2 * size:
            return cls(slice(0, samples), 1 / size, samples)
        rows = slice(rank * samples // size, (rank + 1) * samples // size)
        return cls(rows, (rows.stop - rows.start) / samples, samples)

    @property
    def is_whole(self) -> bool:
        """Whether every process has all samples."""
        return self.rows == slice(0, self.samples)


class Processes:
    """All processes of a run, seen from one of them: here, the only one.

    Attributes:
        rank: which one this is, 0 to size − 1.
        size: how many there are.
        device: the name of the device that this one computes on.
    """

    rank: int = 0
    size: int = 1

    def __init__(self, device: str = "auto") -> None:
        self.device = device

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def in_turn(self, work: Callable[[], T]) -> T:
        """Do `work` in every process: on each machine in one first, and then, when what it left on disk can be used, in the others."""
        return work()

    def on_first(self, work: Callable[[], T]) -> T:
        """Do `work` in the first process alone; all get its result, or its `ArdtoolError`."""
        return work()

    def everywhere(self, work: Callable[[], T]) -> list[T]:
        """Do `work`, on other samples in each process; all get the results of all, by rank, or the first `ArdtoolError`."""
        return [work()]

    def agree(self, settings: Mapping[str, Any]) -> None:
        """Raise `ConfigError` or `DataError` where the processes were not started with the same settings and data."""

    def shard(self, samples: int) -> Shard:
        """What this process has of so many samples."""
        return Shard.of(samples, self.rank, self.size)

    def sharing(self, shard: Shard) -> AbstractContextManager[Any]:
        """Inside, batches are this process' part of larger ones: random numbers are drawn for all samples and cut to its rows, and
        `mean` and gradients are weighted by the shard."""
        return nullcontext()

    def gather_rows(self, rows: Tensor, shard: Shard) -> Tensor:
        """The rows (n_r, ...) of all processes as one tensor (n, ...), in the order of the samples, everywhere."""
        return rows

    def gather_codes(self, codes: Posterior, shard: Shard) -> Posterior:
        """The same for posteriors."""
        return codes

    def total(self, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        """The sum over processes of each number, equal to the last bit everywhere."""
        return {name: float(value) for name, value in values.items()}

    def any(self, answer: bool) -> bool:
        """Whether any process says yes; the same everywhere."""
        return self.total({"yes": float(answer)})["yes"] > 0

    def mean(self, part: Tensor) -> Tensor:
        """The mean over all samples of a batch from the mean over this process' part; differentiable."""
        return part

    def rows(self, part: Tensor) -> Tensor:
        """All rows (B, ...) of a batch from this process' (n_r, ...); differentiable."""
        return part

    def synchronise(self, model: NetworkAutoencoder, optimisers: list[torch.optim.Optimizer], *, second_derivatives: bool) -> None:
        """Let gradients, and moments of BatchNorm, be those of whole batches.

        Arguments:
            second_derivatives: whether the loss holds derivatives of the network.
        """

    def claim(self) -> bool:
        """Whether this process is the one that says why all of them end: the first that asks. Before they know each other it is the one
        with rank 0."""
        return not are_several() or os.environ["RANK"] == "0"

    def lost(self) -> ProcessEnded:
        """What to say where processes are ended from outside."""
        return ProcessEnded("The run was stopped.", "Start it again.")


_active = Processes()


def are_several() -> bool:
    """Whether `torchrun`, or what sets the same environment, started this process with others."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ and "MASTER_ADDR" in os.environ


def active() -> Processes:
    """All processes that were joined last."""
    return _active


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """All processes of a run, for as long as the context lasts; this one alone where it was not started with others.

    Arguments:
        device: auto, cpu or cuda, of which each process takes a GPU of its own; what one process alone may have is not checked here.

    Raises:
        ConfigError: several processes cannot use this device, or are more than the machine has GPUs.
        TrainingError: they do not find each other.
        ProcessEnded: inside, where another one is gone.
    """
    global _active
    if not are_several():
        yield Processes(device)
        return
    from .distributed import ProcessGroup

    _active = group = ProcessGroup.from_environment()
    try:
        group.start(device)
        yield group
        group.close()
    except BaseException as error:
        group.claim()  # before anybody else notices
        if group.is_loss(error):
            raise group.lost() from error
        if isinstance(error, ArdtoolError):  # where all have it, a script may catch it and go on
            group.leave()
        raise
