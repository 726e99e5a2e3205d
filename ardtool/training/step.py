"""The gradient steps of an epoch: one loop over a program that makes one step, chosen once.

    plain      one operation after the other, as Python comes to it
    captured   the whole step, from the indices of a batch to the updated parameters, as one CUDA graph on fixed memory
    compiled   the layers of encoder and decoder by torch.compile, in steps that are otherwise plain or captured

`--compile auto` captures on GPUs and is plain elsewhere; `on` compiles the layers too; `off` is plain. What does not work falls back to
the next simpler way, and the user is told why. Sums of the losses stay on the device and are read once an epoch.

Trying a program changes nothing: parameters, buffers and moments are put back, and the noise of an epoch starts from its own seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from ..errors import TrainingError, first_line
from ..networks.build import NetworkAutoencoder
from ..objectives.objective import Objective
from .capture import Backend, Rates, Snapshot
from .finite import Fault, Guard
from .resident import BatchSource

__all__ = ["PlainStep", "Program", "StaticStep", "Stepper"]

Step = Callable[[Tensor, torch.Generator], dict[str, Tensor]]


class Program(Protocol):
    """Makes one step after the other and sums up the terms of their losses."""

    @property
    def noise(self) -> torch.Generator:
        """What the steps draw from."""
        ...

    def start(self, noise: torch.Generator, totals: Mapping[str, float]) -> None:
        """Begin an epoch: noise is drawn as from this generator; sums are zero, or in the middle of an epoch these."""
        ...

    def __call__(self, fetched: Tensor) -> None:
        """One step on what `BatchSource.fetch` returned."""
        ...

    def totals(self) -> dict[str, Tensor]:
        """Sums of the terms over the epoch, scalars on the device."""
        ...


class PlainStep:
    """The step as it is.

    Arguments:
        step: from what was fetched and a generator to detached terms.
    """

    def __init__(self, step: Step) -> None:
        self._step = step

    def start(self, noise: torch.Generator, totals: Mapping[str, float]) -> None:
        self.noise, self._totals = noise, dict[str, Tensor | float](totals)

    def __call__(self, fetched: Tensor) -> None:
        terms = self._step(fetched, self.noise)
        self._totals = {name: self._totals[name] + value if self._totals else value for name, value in terms.items()}

    def totals(self) -> dict[str, Tensor]:
        return {name: torch.as_tensor(value) for name, value in self._totals.items()}


class StaticStep:
    """The step on fixed memory: its input, its generator and its sums are the same objects for every step.

    Arguments:
        step: as for `PlainStep`.
        example: what was fetched for some batch; all others have its shape.
        snapshot: of all that a step changes, taken before.
        backend: what runs the step again.
    """

    def __init__(self, step: Step, example: Tensor, device: torch.device, snapshot: Snapshot, backend: Backend) -> None:
        self._step = step
        self._input, self.noise, self._totals = example.clone(), torch.Generator(device), dict[str, Tensor]()
        try:
            backend.warm_up(self._body)
        finally:
            snapshot.restore()
        self._replay = backend.capture(self._body, self.noise)

    def _body(self) -> None:
        for name, value in self._step(self._input, self.noise).items():
            if name not in self._totals:
                self._totals[name] = torch.zeros_like(value)
            self._totals[name].add_(value)

    def start(self, noise: torch.Generator, totals: Mapping[str, float]) -> None:
        self.noise.set_state(noise.get_state())
        for name, total in self._totals.items():
            total.fill_(totals.get(name, 0.0))

    def __call__(self, fetched: Tensor) -> None:
        self._input.copy_(fetched, non_blocking=True)
        self._replay()

    def totals(self) -> dict[str, Tensor]:
        return self._totals


def _raised(fault: Fault) -> None:
    raise TrainingError(fault.sentence(1))


class Stepper:
    """The steps of a run.

    Arguments:
        model, objective, optimisers: what a step changes.
        source: where batches come from, and the device.
        compile: auto, on or off.
        backend: what captures steps; None where steps are not captured.
        tell: is told why something simpler is done than was asked for.
        failed: is given what is not finite, and raises; the state is that before the step that made it.
        agreed: whether any of several processes says yes; None for a single process.

    Attributes:
        kind: plain, captured, compiled, or captured and compiled; "" before the first step.
    """

    def __init__(
        self,
        model: NetworkAutoencoder,
        objective: Objective,
        optimisers: list[torch.optim.Optimizer],
        source: BatchSource,
        compile: str,
        backend: Backend | None,
        tell: Callable[[str], None],
        failed: Callable[[Fault], None] = _raised,
        agreed: Callable[[bool], bool] | None = None,
    ) -> None:
        self.model, self.objective, self.optimisers, self.source = model, objective, optimisers, source
        self.kind = ""
        self._compile, self._backend, self._tell = compile, backend, tell
        self._rates = Rates(optimisers, source.device) if source.device.type == "cuda" else None
        self._program: Program | None = None
        self.guard = Guard(model, objective, optimisers, self.step, source.batch, agreed, failed)

    def step(self, fetched: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """One step of the objective on what was fetched."""
        return self.objective.step(self.model, self.source.batch(fetched), noise, self.optimisers)

    def snapshot(self) -> Snapshot:
        """All that a step changes, as it is now."""
        return Snapshot((self.model, self.objective), self.optimisers)

    def prepare(self, index: Tensor) -> None:
        """Choose the program, once for a run, by trying it on the indices of a batch."""
        if self._program is None:
            with self._rates_in_use():
                self._program = self._chosen(self.source.fetch(self.source.indices(index)))

    def start(self, noise: torch.Generator, totals: Mapping[str, float] | None = None) -> None:
        """Begin an epoch, or go on in the middle of one; after `prepare`.

        Arguments:
            noise: just seeded, or in the state that `noise_state` gave; on the device.
            totals: what `totals` gave; None at the beginning of an epoch.
        """
        assert self._program is not None, "prepare() chooses a program"
        self._program.start(noise, totals or {})

    def run(
        self,
        index: Tensor,
        first: int = 0,
        after_step: Callable[[int, int], None] | None = None,
        pauses: Callable[[int], bool] = lambda done: False,
    ) -> int:
        """Make a step for every row of `index` from the row `first` on, and return how many rows are done.

        Arguments:
            index: indices of samples with shape (steps, batch size).
            first: rows that are done already.
            after_step: called with (steps done, steps).
            pauses: asked after every step with the number of steps done: whether to return now.
        """
        assert self._program is not None, "prepare() chooses a program"
        with self._rates_in_use():
            rows = self.source.indices(index)
            self.guard.start(self._program.noise, self._program.totals, lambda number: self.source.fetch(rows[number - 1]), first)
            for done, row in enumerate(rows[first:], start=first + 1):
                self._program(self.source.fetch(row))
                self.guard.stepped(is_last=done == len(index))
                if after_step is not None:
                    after_step(done, len(index))
                if pauses(done):
                    if done < len(index):
                        self.guard.check()
                    return done
        return len(index)

    def totals(self) -> dict[str, float]:
        """Sums of the terms over the steps of this epoch."""
        assert self._program is not None, "prepare() chooses a program"
        totals = self._program.totals()
        return dict(zip(totals, torch.stack(list(totals.values())).tolist(), strict=True))

    def noise_state(self) -> Tensor:
        """The state of the generator of the noise after the last step, as bytes."""
        assert self._program is not None, "prepare() chooses a program"
        return self._program.noise.get_state()

    def forget(self) -> None:
        """Let go of the program: what it has captured has been replaced, or is no longer needed."""
        self._program = None

    def _rates_in_use(self) -> AbstractContextManager[None]:
        return nullcontext() if self._rates is None else self._rates.in_use()

    def _chosen(self, example: Tensor) -> Program:
        """The fastest program that works here."""
        kinds = ["compiled"] if self._compile == "on" and self._layers_compile(example) else []
        program: Program = PlainStep(self.step)
        if self._backend is not None and self._compile != "off":
            try:
                program = StaticStep(self.step, example, self.source.device, self.snapshot(), self._backend)
                kinds.insert(0, "captured")
            except Exception as error:  # whatever CUDA, a library of it or an operator objects to
                self._tell(f"steps are not captured as a CUDA graph: {first_line(error.__context__ or error)}")
        self.kind = " and ".join(kinds) or "plain"
        return program

    def _layers_compile(self, example: Tensor) -> bool:
        """Try a step with compiled layers; without them where that fails."""
        execution, snapshot = self.model.execution, self.snapshot()
        assert execution is not None, "compiled layers are run by an Execution"
        try:
            self.step(example, torch.Generator(self.source.device))
        except Exception as error:  # whatever the compiler, the one for C++ that it calls, or its code objects to
            execution.give_up_compiling()
            self._tell(f"layers are not compiled: {first_line(error)}")
        finally:
            snapshot.restore()
        return execution.compiled
