"""Training in TensorBoard: scalars, scores and pictures of every epoch, in `tensorboard/` of the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ..errors import ConfigError
from ..latent.jacobian import inference_mode
from ..latent.sampling import draw_codes
from ..latent.traversal import traversal_codes, traversal_offsets
from ..storage.images import to_levels
from ..training.loop import EpochRecord, TrainingRun

if TYPE_CHECKING:
    from ..latent.codes import LatentCodes

__all__ = ["FOLDER", "TensorBoardLog", "Writer"]

FOLDER = "tensorboard"
ROWS, STEPS, SIGMAS = 8, 9, 3.0  # axes in a picture, and how far each is moved
SAMPLES = 24


class Writer(Protocol):
    """What is used of `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any: ...

    def add_histogram(self, tag: str, values: Tensor, global_step: int) -> Any: ...

    def add_image(self, tag: str, img_tensor: Tensor, global_step: int) -> Any: ...

    def flush(self) -> Any: ...

    def close(self) -> Any: ...


class TensorBoardLog:
    """An observer of training that logs it; steps are epochs.

    A run that is continued goes on in the same log: what was logged after the epoch where it continues is hidden.

    Raises:
        ConfigError: the package tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError("--tensorboard needs tensorboard, which is not installed.", "`pip install tensorboard`.") from error
        self._open = SummaryWriter
        self._writer: Writer | None = None
        self._run: TrainingRun | None = None

    def started(self, run: TrainingRun, folder: Path) -> None:
        self._run = run
        if run.processes.is_first:
            self._writer = self._open(str(folder / FOLDER), purge_step=run.epoch + 1)

    def stepped(self, done: int, steps: int) -> None:
        """Steps are not logged."""

    def noted(self, text: str) -> None:
        """Notes are not logged."""

    def epoch_ended(self, record: EpochRecord) -> None:
        if self._writer is None or self._run is None:
            return
        for name, value in scalars_of(record).items():
            self._writer.add_scalar(name, value, record.epoch)
        if record.active is not None and self._run.counted is not None:
            scores, codes = self._run.counted
            self._writer.add_histogram("relevance/score", scores, record.epoch)
            if self._run.data.is_images:
                for name, picture in _pictures(self._run, scores, codes).items():
                    self._writer.add_image(name, picture, record.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


def scalars_of(record: EpochRecord) -> dict[str, float]:
    """The numbers of an epoch by name: terms of the loss, the prior's extremes, learning rate, the count, samples per second."""
    found = {f"{part}/{name}": value for part in ("training", "validation", "state") for name, value in getattr(record, part).items()}
    found |= {"optimiser/lr": record.lr, "speed/samples_per_second": record.samples / max(record.step_seconds, 1e-9)}
    if record.active is not None:
        found["relevance/active"] = record.active
    return {name: float(value) for name, value in found.items() if value is not None}


@torch.no_grad()
def _pictures(run: TrainingRun, scores: Tensor, codes: LatentCodes) -> dict[str, Tensor]:
    """Traversals of the most relevant axes and new samples, uint8 with shape (C, H, W)."""
    order = scores.argsort(descending=True)[:ROWS].tolist()
    offsets, deviation = traversal_offsets(STEPS, SIGMAS), codes.statistics.variance.sqrt().float()
    z = traversal_codes(codes.statistics.mean.float(), deviation, order, offsets).flatten(0, 1)
    kind = "paper" if codes.prior is not None else "full-gaussian"
    drawn = draw_codes(codes, SAMPLES, kind, list(range(len(scores))), torch.Generator().manual_seed(0))
    with inference_mode(run.model):
        moved, new = (run.model.decode(each.float().to(run.device)).float().cpu() for each in (z, drawn))
    value_range = run.data.value_range or (0.0, 1.0)
    return {"traversal": _grid(to_levels(moved, value_range), STEPS), "samples": _grid(to_levels(new, value_range), SAMPLES // 3)}


def _grid(images: Tensor, columns: int) -> Tensor:
    """Images with shape (N, C, H, W), N a multiple of `columns`, as one with shape (C, H', W'), with white lines between."""
    framed = torch.nn.functional.pad(images, (1, 1, 1, 1), value=255)
    rows = framed.unflatten(0, (-1, columns))  # (R, columns, C, H, W)
    return rows.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
