"""Training where memory is short: validation in smaller batches, and which batch size a step would fit with.

A batch of training is part of the method, so it is never made smaller behind the user's back. Smaller ones are tried, and the largest that
fits is named. The run ends there; its last checkpoint is as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor

from ..errors import TrainingError
from ..latent.chunks import Shortage, out_of_memory, within_memory
from ..networks.build import NetworkAutoencoder
from ..objectives.objective import Objective
from .processes import Processes
from .resident import BatchSource
from .splits import seeded

__all__ = ["EVALUATION_BATCH", "Validation", "fitting_batch", "shortage_of_step"]

EVALUATION_BATCH = 500


def shortage_of_step(shortage: str, epoch: int, size: int, fitting: int | None, fewest: int) -> TrainingError:
    """What to say where memory runs out in a step.

    Arguments:
        size: samples of the step.
        fitting: the largest batch that was tried and fits; 0 where none does, None where none was tried.
        fewest: samples of the smallest batch that was tried.
    """
    message = f"Memory ran out in epoch {epoch} in a step of {size} samples: {shortage}."
    if fitting is None:
        return TrainingError(message, "Use a smaller --batch-size.")
    if fitting:
        return TrainingError(message, f"A step of {fitting} samples fits: use --batch-size {fitting}.")
    return TrainingError(message, f"A step of {min(fewest, size)} does not fit either: use smaller images or a smaller network (--arch).")


def fitting_batch(size: int, fewest: int, step: Callable[[int], None]) -> int:
    """The largest of size / 2, size / 4, … ≥ fewest that `step` has memory for; 0 where none fits."""
    while (size := size // 2) >= fewest:
        if within_memory(lambda size=size: step(size)) is None:
            return size
    return 0


class Validation:
    """Mean terms of the loss on the validation data, with the same noise every time.

    Where memory runs out, batches are halved and the pass begins anew, now and ever after; several processes would have to agree on that,
    so there the error is the caller's.
    """

    def __init__(self, model: NetworkAutoencoder, objective: Objective, index: Tensor, seed: int, processes: Processes) -> None:
        self._model, self._objective, self._index, self._seed, self._processes = model, objective, index, seed, processes
        self.batch = EVALUATION_BATCH

    @torch.no_grad()
    def __call__(self, source: BatchSource) -> dict[str, float]:
        """The terms by name.

        Raises:
            ArdtoolError: memory runs out on the smallest batch.
        """
        self._model.eval()
        while isinstance(found := within_memory(lambda: self._pass(source)), Shortage):
            if self._processes.size > 1 or self.batch <= max(self._objective.fewest_samples, 1):
                raise out_of_memory(found.said)
            self.batch = max(ceil(self.batch / 2), self._objective.fewest_samples)
        return found

    def _pass(self, source: BatchSource) -> dict[str, float]:
        noise = seeded(self._seed, 0, "validation", source.device)
        totals: dict[str, Tensor] = {}
        parts = ceil(len(self._index) / self.batch)
        for index in self._index.tensor_split(parts):  # about equal: what is taken over a whole batch wants no batch of one
            shard = self._processes.shard(len(index))
            with self._processes.sharing(shard):
                terms = self._objective.losses(self._model, source.take(index[shard.rows]), noise)
            totals = {name: totals.get(name, 0) + value * (shard.weight * len(index)) for name, value in terms.items()}
        return {name: total / len(self._index) for name, total in self._processes.total(totals).items()}
