"""The training loop: epochs of (learn the prior from X_α, gradient steps on the rest, validate), resumable after each.

Every random choice of an epoch comes from generators seeded by (run seed, epoch, purpose). A run that was stopped and resumed therefore
does exactly what an uninterrupted one does, bit for bit on the CPU.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..autoencoder import Posterior
from ..data.dataset import DataSet
from ..errors import TrainingError
from ..latent.chunks import Shortage, within_memory
from ..latent.codes import REFERENCE_ROWS, LatentCodes, encode_batches
from ..latent.jacobian import column_norms, inference_mode
from ..latent.mixture import Mixture
from ..latent.relevance import active_count
from ..latent.statistics import CodeStatistics
from ..networks.build import NetworkAutoencoder
from ..networks.initialise import ADAM_EPS
from ..objectives.objective import Objective
from .capture import CudaGraph
from .config import TrainConfig
from .convergence import epochs_to_count_after
from .finite import Fault, broken_axis, remedy
from .memory import EVALUATION_BATCH, Validation, fitting_batch, shortage_of_step
from .precision import computing, execution_of
from .processes import Processes
from .record import EpochRecord, Partial, Stopwatch
from .resident import BatchSource, place_of
from .splits import hold_out_size, seeded
from .state import match_parameters
from .step import Stepper

__all__ = ["EpochRecord", "TrainingRun", "codes_of", "hold_out_size", "seeded"]

TRACE_SAMPLES = 100
MOMENT_SAMPLES = 10_000
MIXTURE_SAMPLES = 100_000
AGREE_STEPS = 50  # between the moments when several processes ask each other whether to save


@dataclass
class TrainingRun:
    """A network, its objective and its data, on the way through the epochs.

    Attributes:
        config: resolved settings; `epochs` and `beta` are numbers here.
        train, validation: index tensors into `data`.
        epoch: epochs done.
        partial: how far the next one has come, where a run is continued or saved in the middle of it.
        processes: those that train together, this one among them.
        tell: is told what the user should know.
        counted: scores of all axes with shape (L,), and the codes that they were measured by, as `count_active` found them last.
    """

    config: TrainConfig
    model: NetworkAutoencoder
    objective: Objective
    data: DataSet
    train: Tensor
    validation: Tensor
    device: torch.device
    epoch: int = 0
    partial: Partial | None = None
    history: list[EpochRecord] = field(default_factory=list)
    processes: Processes = field(default_factory=Processes)
    tell: Callable[[str], None] = lambda text: None
    counted: tuple[Tensor, LatentCodes] | None = None

    def __post_init__(self) -> None:
        self.model.to(self.device).to(memory_format=self.memory_format)
        self.objective.to(self.device)
        self.objective.prepare(self.model)
        self.optimisers = self.objective.optimisers(self.model, self.lr, fused=True, eps=ADAM_EPS)
        self.schedulers = [
            torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimiser, factor=0.5, patience=max(self.config.lr_patience - 1, 0), threshold=1e-4, threshold_mode="abs"
            )
            for optimiser in self.optimisers
            if self.objective.plateau
        ]
        self.objective.batch = self.processes
        self.processes.synchronise(self.model, self.optimisers, second_derivatives=self.objective.second_derivatives)
        self.execution = execution_of(self.model, self.config.precision, compiled=self.compile == "on")
        self._watch = Stopwatch()

    @property
    def epochs(self) -> int:
        assert self.config.epochs is not None, "the configuration is resolved before training"
        return self.config.epochs

    @property
    def lr(self) -> float:
        assert self.config.lr is not None, "the configuration is resolved before training"
        return self.config.lr

    @property
    def batch_size(self) -> int:
        assert self.config.batch_size is not None, "the configuration is resolved before training"
        return self.config.batch_size

    @property
    def memory_format(self) -> torch.memory_format:
        """How images and the weights of convolutions lie: as is best, but on MPS, where torch has had wrong gradients of BatchNorm so."""
        return torch.contiguous_format if self.device.type == "mps" else self.model.memory_format

    @property
    def compile(self) -> str:
        """auto, on or off; off in several processes, where one that fails to compile would fall out of step with the others."""
        return self.config.compile if self.processes.size == 1 else "off"

    @cached_property
    def source(self) -> BatchSource:
        """The data, put onto the device where they fit."""
        return BatchSource(self.data, self.device, place_of(self.data, self.device), self.memory_format)

    @cached_property
    def validation_terms(self) -> Validation:
        """What measures the loss on the validation data."""
        return Validation(self.model, self.objective, self.validation, self.config.seed, self.processes)

    @cached_property
    def stepper(self) -> Stepper:
        """What makes the gradient steps."""
        if self.config.compile == "on" and self.compile == "off":
            self.tell("layers are not compiled in several processes: each would have to succeed")
        backend = CudaGraph(self.device) if self.device.type == "cuda" and self.processes.size == 1 else None
        agreed = self.processes.any if self.processes.size > 1 else None
        return Stepper(self.model, self.objective, self.optimisers, self.source, self.compile, backend, self.tell, self._not_finite, agreed)

    def _not_finite(self, fault: Fault) -> NoReturn:
        first = min(self.processes.everywhere(lambda: fault), key=lambda each: each.distance)
        raise TrainingError(first.sentence(self.epoch + 1), self._remedy(first.largest))

    def _remedy(self, largest: float = 0.0) -> str:
        beta, kept = "beta" in self.objective.takes, self.epoch > 0
        return remedy(self.lr, beta=beta, precision=self.config.precision, largest=largest, kept=kept)

    def computing(self) -> AbstractContextManager[None]:
        """Steps, prior updates and validation in the precision of this run; all else is float32."""
        return computing(self.model, self.execution, self.config.precision, self.device)

    @property
    def alpha_size(self) -> int:
        """|X_α|; 0 for objectives that hold nothing out."""
        return hold_out_size(self.config.alpha_samples, len(self.train)) if self.objective.holds_out_codes else 0

    def fit(
        self,
        after_epoch: Callable[[EpochRecord], None],
        after_step: Callable[[int, int], None] | None = None,
        *,
        is_save_due: Callable[[], bool] = lambda: False,
        save: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the remaining epochs.

        Arguments:
            after_epoch: called with the record of each epoch; checkpoints are written there, too.
            after_step: called with (steps done in this epoch, steps per epoch).
            is_save_due: asked after every step: whether to save now, in the middle of an epoch.
            save: saves `state()`; may raise to end the run.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        watch = self._watch = Stopwatch()
        while self.epoch < self.epochs:
            held_out, rest = self.split_epoch(self.epoch)
            with self.computing():
                with watch.phase("prior"):
                    if self.partial is None and self.objective.holds_out_codes and self.epoch % self.config.alpha_every == 0:
                        self.learn_prior(held_out, self.epoch)
                training, samples = self._steps_in_memory(rest, after_step, is_save_due, save)
                with watch.phase("validation"):
                    validation = self.validation_terms(self.source)
            self._check_finite(training | {f"validation {name}": value for name, value in validation.items()})
            lr = self.optimisers[0].param_groups[0]["lr"]
            self.epoch += 1
            self.objective.end_epoch(validation, self.epoch / self.epochs)
            if self.config.lr_patience and self.objective.is_stationary(self.epoch / self.epochs):
                for scheduler in self.schedulers:
                    scheduler.step(validation["loss"])
            record = EpochRecord(self.epoch, training, validation, self.objective.summary(), lr, samples, active=None, **watch.lap())
            if self.epoch in epochs_to_count_after(self.epochs):
                record.active = self.count_active()
            self.history.append(record)
            with watch.phase("checkpoint"):
                after_epoch(record)

    def split_epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Indices (X_α, X_sgd) of an epoch: disjoint, their union is the training set; X_α changes every `alpha_every` epochs."""
        draw = epoch // self.config.alpha_every
        order = torch.randperm(len(self.train), generator=seeded(self.config.seed, draw, "hold-out"))
        return self.train[order[: self.alpha_size]], self.train[order[self.alpha_size :]]

    def learn_prior(self, held_out: Tensor, epoch: int) -> Posterior:
        """Encode X_α in inference mode and update the prior (Algorithm 2, Eq. 8 and 9); returns its posteriors."""
        posterior = self.encode(held_out)
        axis = broken_axis({"mean": posterior.mean, "log variance": posterior.log_variance})
        if axis is not None:
            raise TrainingError(f"The codes that the prior is learned from are not finite in epoch {epoch + 1}: {axis}.", self._remedy())
        self.objective.update_prior(posterior, seeded(self.config.seed, epoch, "prior"))
        return posterior

    def encode(self, index: Tensor) -> Posterior:
        """Posteriors of some samples in inference mode, on the CPU."""
        shard = self.processes.shard(len(index))
        with inference_mode(self.model):
            own = index[shard.rows]
            codes = encode_batches(self.model, len(own), EVALUATION_BATCH, lambda part: self.source.take(own[part]))
        return self.processes.gather_codes(codes, shard)

    def count_active(self) -> int:
        """The number of active axes as things stand, from up to 100 validation samples, drawn: data are often sorted."""
        model = self.objective.finished(self.model)
        drawn = torch.randperm(len(self.validation), generator=torch.Generator().manual_seed(self.config.seed))[:REFERENCE_ROWS]
        codes = codes_of(self.encode(self.validation[drawn]), self.objective, self.config.seed)
        reference = codes.reference.rows(slice(0, TRACE_SAMPLES))
        shard = self.processes.shard(len(reference))
        own = column_norms(model, reference.rows(shard.rows), device=self.device)
        weight = self.processes.gather_rows(own.contributions, shard).mean(dim=0)
        self.counted = (weight * codes.axis_variance, codes)
        return int(active_count(self.counted[0], self.config.threshold))

    @property
    def losses_are_comparable(self) -> bool:
        """Whether the losses of the last quarter of the epochs are: their weights are neither searched nor learned."""
        return self.objective.plateau and self.objective.is_stationary(0.75)

    def final_codes(self) -> LatentCodes:
        """The prior estimated once more from a fresh X_α, with moments and a reference batch of the training data's codes."""
        order = torch.randperm(len(self.train), generator=seeded(self.config.seed, self.epochs, "final"))
        if self.objective.holds_out_codes:
            self.learn_prior(self.train[order[: self.alpha_size]], self.epochs)
        codes = codes_of(self.encode(self.train[order[:MOMENT_SAMPLES]]), self.objective, self.config.seed)
        if self.objective.sampler != "gmm" or codes.statistics.is_diagonal:
            return codes
        return replace(codes, mixture=Mixture.fit(self.encode(self.train[order[:MIXTURE_SAMPLES]]).mean, self.config.seed))

    def finish(self) -> None:
        """Put what the objective adds to the network into it: the model that is scored and saved."""
        self.stepper.forget()
        self.model = self.objective.finished(self.model).eval()

    def state(self) -> dict[str, Any]:
        """All that continues a run, nested."""
        return {
            "epoch": self.epoch,
            "partial": None if self.partial is None else asdict(self.partial),
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "history": json.dumps([record.to_dict() for record in self.history]),  # as one text: there may be thousands of records
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.epoch = state["epoch"]
        self.partial = None if state.get("partial") is None else Partial(**state["partial"])
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
            match_parameters(optimiser)
        self.stepper.forget()
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        self.history = [EpochRecord(**record) for record in json.loads(state["history"])]

    def _steps_in_memory(self, rest: Tensor, *hooks: Any) -> tuple[dict[str, float], int]:
        """`_gradient_steps`, and a line that says which batch would fit where memory runs out."""
        found = within_memory(lambda: self._gradient_steps(rest, *hooks))
        if not isinstance(found, Shortage):
            return found[:2]
        size, fewest = min(self.batch_size, len(rest)), max(self.objective.fewest_samples, 2)  # BatchNorm wants two

        def step(size: int) -> None:
            with self.processes.sharing(self.processes.shard(size)):
                batch = self.source.fetch(self.source.indices(self._batches(rest, size)[0]))
                self.stepper.step(batch, torch.Generator(self.device))

        fitting = fitting_batch(size, fewest, step) if self.processes.size == 1 else None
        raise shortage_of_step(found.said, self.epoch + 1, size, fitting, fewest)

    def _gradient_steps(
        self,
        rest: Tensor,
        after_step: Callable[[int, int], None] | None,
        is_save_due: Callable[[], bool] = lambda: False,
        save: Callable[[], None] = lambda: None,
    ) -> tuple[dict[str, float], int, float]:
        """One pass over X_sgd in shuffled full batches, or what is left of one; returns mean terms and samples of the whole pass, and the
        seconds that this process needed."""
        self.model.train()
        before = self._watch.so_far()["step"]
        size = min(self.batch_size, len(rest))
        batches = self._batches(rest)
        shard = self.processes.shard(size)
        pauses = self._pauses(is_save_due)
        with self.processes.sharing(shard):
            self.stepper.prepare(batches[0])
            done = self._start_steps()
            while done < len(batches):
                with self._watch.phase("step"):
                    done = self.stepper.run(batches, done, after_step, pauses)
                if done < len(batches):
                    self._save(done, shard.weight, save)
            with self._watch.phase("step"):  # reading the sums waits for the steps
                totals = self.processes.total({name: value * shard.weight for name, value in self.stepper.totals().items()})
        self.partial = None
        return {name: value / len(batches) for name, value in totals.items()}, len(batches) * size, self._watch.so_far()["step"] - before

    def _start_steps(self) -> int:
        """Begin the steps of an epoch, or go on where a saved one had stopped; returns the steps done."""
        noise = seeded(self.config.seed, self.epoch, "noise", self.device)
        if self.partial is None:
            self.stepper.start(noise)
            return 0
        noise.set_state(self.partial.noise)
        self._watch.resume(self.partial.seconds)
        self.stepper.start(noise, self.partial.totals)
        return self.partial.steps

    def _pauses(self, is_save_due: Callable[[], bool]) -> Callable[[int], bool]:
        """Whether to save after a step, from the number of steps done; several processes ask each other now and then."""
        if self.processes.size == 1:
            return lambda done: is_save_due()
        return lambda done: done % AGREE_STEPS == 0 and self.processes.any(is_save_due())

    def _save(self, done: int, weight: float, save: Callable[[], None]) -> None:
        """Save the run in the middle of an epoch."""
        with self._watch.phase("step"):
            totals = self.processes.total({name: value * weight for name, value in self.stepper.totals().items()})
        self.partial = Partial(done, totals, self.stepper.noise_state(), self._watch.so_far())
        with self._watch.phase("checkpoint"):
            save()

    def _batches(self, rest: Tensor, size: int | None = None) -> Tensor:
        """Indices with shape (steps, batch size): full batches in random order, each with as many random ones behind it as the objective
        asks for; of each the rows that this process has. What does not fill a batch waits for another epoch.
        """
        size = size or min(self.batch_size, len(rest))
        steps = len(rest) // size
        generator = seeded(self.config.seed, self.epoch, "shuffle")
        own = torch.randperm(len(rest), generator=generator)[: steps * size].view(steps, size)
        further = torch.randint(len(rest), (steps, self.objective.further_batches * size), generator=generator)
        rows = self.processes.shard(size).rows
        return rest[torch.cat([own, further], dim=1).view(steps, -1, size)[:, :, rows].flatten(1)]

    def _check_finite(self, terms: dict[str, float]) -> None:
        broken = next((name for name, value in terms.items() if not math.isfinite(value)), None)
        if broken is not None:
            raise TrainingError(f"The loss is not finite in epoch {self.epoch + 1}: {broken} is {terms[broken]}.", self._remedy())


def codes_of(posterior: Posterior, objective: Objective, seed: int) -> LatentCodes:
    """Moments of one draw from the posteriors, the first rows as reference batch, and the objective's prior."""
    statistics = CodeStatistics.of(posterior.sample(seeded(seed, 0, "reference")))
    return LatentCodes(statistics, posterior.rows(slice(0, REFERENCE_ROWS)), objective.prior())
