"""Numbers that are not finite stop a run before the step that made them, and are named.

Looking at every number of every step would cost time and, on a GPU, make the host wait. A number that is not finite stays: sums of the
terms of a loss keep it, so do parameters, moments and running statistics. So these are looked at after every `WINDOW` steps and at the end
of an epoch; on the CPU the sum of the loss, which costs nothing there, after every step. If something is not finite, the state at the
beginning of the window is put back and its steps are repeated one by one, each with its own way back: terms, gradients before each
update, and the state after the step are looked at, and before the first step that breaks, the run stands still. Nothing of that step
is left: no update, no running statistic, no moment, of whatever optimisers and passes a method has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..networks.build import NetworkAutoencoder
from ..objectives.objective import Objective
from .capture import Snapshot

__all__ = ["WINDOW", "Fault", "Guard", "broken_axis", "remedy"]

WINDOW = 100
KINDS = ("loss", "gradient", "state")
ELSEWHERE = "the part of another process is broken"
LARGE = 1e4  # values of data beyond it want scaling: pixels are in [0, 1], vectors are standardised


@dataclass(frozen=True)
class Fault:
    """What is not finite.

    Attributes:
        step: of the epoch, from 1; None where it could not be repeated.
        last: the step after which it was seen.
        what: one of `KINDS`.
        detail: which term, parameter, axis or sample, and its value.
        largest: the largest absolute value of the batch, as far as values are finite.
    """

    step: int | None
    last: int
    what: str
    detail: str
    largest: float = 0.0

    @property
    def distance(self) -> int:
        """How far it is from what broke first: a term of the loss, then gradients, then the state; last, what another process knows."""
        return len(KINDS) if self.detail.startswith(ELSEWHERE) else KINDS.index(self.what)

    def sentence(self, epoch: int) -> str:
        """What a user reads."""
        if self.step is not None:
            return f"The {self.what} is not finite in epoch {epoch}, step {self.step}: {self.detail}."
        return (
            f"The {self.what} is not finite in epoch {epoch}, up to step {self.last}: {self.detail}, but not when its steps are repeated."
        )


class _Broken(Exception):
    """A gradient is not finite; the update has not been made."""


class Guard:
    """Watches the steps of an epoch.

    Arguments:
        model, objective, optimisers: what a step changes.
        step: makes one, plainly, from what was fetched and a generator.
        samples: what was fetched as floats.
        agreed: whether any of several processes says yes; None for a single process.
        failed: is given the fault, and raises.
    """

    def __init__(
        self,
        model: NetworkAutoencoder,
        objective: Objective,
        optimisers: list[torch.optim.Optimizer],
        step: Callable[[Tensor, torch.Generator], dict[str, Tensor]],
        samples: Callable[[Tensor], Tensor],
        agreed: Callable[[bool], bool] | None,
        failed: Callable[[Fault], None],
    ) -> None:
        self._model, self._objective, self._optimisers = model, objective, optimisers
        self._step, self._samples, self._failed = step, samples, failed
        self._agreed, self._alone = agreed or bool, agreed is None

    def start(
        self, noise: torch.Generator, totals: Callable[[], dict[str, Tensor]], fetched: Callable[[int], Tensor], done: int = 0
    ) -> None:
        """Begin an epoch, or go on in the middle of one.

        Arguments:
            noise: what the steps draw from.
            totals: sums of the terms over the steps done.
            fetched: what the step of a number, from 1, is given.
            done: steps of the epoch that are done.
        """
        self._noise, self._totals, self._fetched, self._done = noise, totals, fetched, done
        self._open()

    def stepped(self, *, is_last: bool) -> None:
        """A step is done."""
        self._done += 1
        due = is_last or self._done - self._first >= WINDOW
        if due or (self._alone and self._sum_is_broken()):
            self.check()
            if is_last:
                del self._before, self._totals, self._fetched
            else:
                self._open()

    def check(self) -> None:
        """Look at the sums of all terms and at the state now: to be called before a state within an epoch is kept."""
        totals = self._totals()
        tensors = [*totals.values(), *self._state()]
        if not self._agreed(not _all_finite(tensors)):
            return
        terms = {name: _number(value) for name, value in totals.items()}
        self._before.restore()
        self._noise.set_state(self._noise_before)
        fault = next(filter(None, map(self._repeated, range(self._first + 1, self._done + 1))), None)
        self._failed(fault or Fault(None, self._done, "loss", _first_broken(terms) or "a parameter was broken"))

    def _open(self) -> None:
        """Begin a window with the state as it is."""
        self._first, self._before, self._noise_before = self._done, self._snapshot(), self._noise.get_state()

    def _snapshot(self) -> Snapshot:
        return Snapshot((self._model, self._objective), self._optimisers)

    def _sum_is_broken(self) -> bool:
        loss = self._totals()["loss"]
        return loss.device.type == "cpu" and not math.isfinite(_number(loss))

    def _state(self) -> Iterator[Tensor]:
        for module in (self._model, self._objective):
            yield from module.parameters()
            yield from module.buffers()
        for optimiser in self._optimisers:
            yield from (each for moments in optimiser.state.values() for each in moments.values() if _is_tensor(each))

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters, buffers and moments by name."""
        names: dict[Tensor, str] = {}
        for module in (self._model, self._objective):
            for name, value in module.state_dict(keep_vars=True).items():
                names[value] = name
                yield name, value.detach()
        for optimiser in self._optimisers:
            for parameter, moments in optimiser.state.items():
                yield from (
                    (f"{name} of {names.get(parameter, 'a parameter')}", each) for name, each in moments.items() if _is_tensor(each)
                )

    def _repeated(self, number: int) -> Fault | None:
        """Make a step again, looking at everything; what is broken by it, with the state as before the step."""
        before, noise = self._snapshot(), self._noise.get_state()
        what, detail, fetched = "loss", None, self._fetched(number)
        hooks = [optimiser.register_step_pre_hook(self._look_at_gradients) for optimiser in self._optimisers]
        try:
            detail = _first_broken({name: _number(value) for name, value in self._step(fetched, self._noise).items()})
            if detail is None and not _all_finite(list(self._state())):
                what, detail = "state", next(f"{name} is {_value(value)}" for name, value in self._named_state() if not _finite(value))
        except _Broken as error:
            what, detail = "gradient", str(error)
        finally:
            for hook in hooks:
                hook.remove()
        if not self._agreed(detail is not None):
            return None
        before.restore()
        self._noise.set_state(noise)
        x = self._samples(fetched)
        if what == "gradient":  # of a term that is broken, or of one that is not
            term = self._broken_term(x)
            what, detail = ("gradient", detail) if term is None else ("loss", term)
            before.restore()
        axis = self._broken_axis(x, before) if what == "loss" else None
        rows = [] if _finite(x) else (~x.flatten(1).isfinite().all(dim=1)).nonzero()[:, 0].tolist()
        found = [f"{detail or ELSEWHERE}{f' ({axis})' if axis else ''}"]
        found += [f"row {rows[0]} of the batch is itself not finite"] if rows else []
        return Fault(number, self._done, what, "; ".join(found), float(x.nan_to_num(0, 0, 0).abs().max()))

    @torch.no_grad()
    def _look_at_gradients(self, optimiser: torch.optim.Optimizer, *rest: Any) -> None:
        """Refuse an update by a gradient that is not finite."""
        names = {value: name for module in (self._objective, self._model) for name, value in module.named_parameters()}
        for parameter in (each for group in optimiser.param_groups for each in group["params"]):
            if parameter.grad is not None and not _finite(parameter.grad):
                axis = self._axis_of(parameter)
                raise _Broken(f"that of {names[parameter]} is {_value(parameter.grad)}{f' ({axis})' if axis else ''}")

    def _axis_of(self, parameter: Tensor) -> str | None:
        """The axis that a parameter of the encoder's last layer, or one with a number for each axis, is broken for alone."""
        assert parameter.grad is not None
        (latent,) = self._model.latent_shape
        last = next((each for each in reversed(list(self._model.encoder.parameters())) if each.ndim > 1), None)
        rows = (~parameter.grad.isfinite()).flatten(1).any(dim=1) if parameter.ndim > 1 else ~parameter.grad.isfinite()
        of_axes = parameter is last or (parameter.ndim == 1 and len(parameter) in (latent, 2 * latent))
        if not of_axes or len(rows) not in (latent, 2 * latent) or bool(rows.all()):
            return None
        row = int(rows.nonzero()[0])
        return f"axis {row % latent}: its {'mean' if row < latent else 'log variance'}" if len(rows) > latent else f"axis {row}"

    def _broken_term(self, x: Tensor) -> str | None:
        """The first term of the loss that is not finite."""
        noise = self._noise.get_state()
        with torch.no_grad():
            terms = self._objective.losses(self._model, x, self._noise)
        self._noise.set_state(noise)
        return _first_broken({name: _number(value) for name, value in terms.items()})

    @torch.no_grad()
    def _broken_axis(self, x: Tensor, before: Snapshot) -> str | None:
        """The first axis whose posterior, KL or prior is not finite."""
        posterior = self._model.encode(x)
        before.restore()
        parts = {
            "mean": posterior.mean,
            "log variance": posterior.log_variance,
            "prior variance": getattr(self._objective, "prior_variance", None),
        }
        return broken_axis(parts)


def broken_axis(parts: dict[str, Tensor | None]) -> str | None:
    """The first axis that is not finite in tensors with shape (..., L), and what of it."""
    for name, values in parts.items():
        if values is not None and not _finite(values):
            rows = values.reshape(-1, values.shape[-1])
            axes = (~rows.isfinite()).any(dim=0).nonzero()[:, 0].tolist()
            of = "all axes" if len(axes) == rows.shape[1] > 1 else f"axis {axes[0]}"
            return f"{of}: {name} is {_value(rows[:, axes[0]])}"
    return None


def remedy(lr: float, *, beta: bool, precision: str, largest: float = 0.0, kept: bool = False) -> str:
    """What to do about it.

    Arguments:
        lr: the learning rate.
        beta: whether the method has a β.
        precision: of the steps.
        largest: absolute value of the data of a step.
        kept: whether there is a checkpoint.
    """
    found = [f"Lower --lr (now {lr:g})"]
    found += ["choose another --beta"] if beta else []
    found += [f"use --precision fp32 (now {precision})"] if precision != "fp32" else []
    found += [f"scale the data, whose values reach {largest:.3g}"] if largest > LARGE else []
    several = f"{', '.join(found[:-1])}, or {found[-1]}." if len(found) > 1 else f"{found[0]}."
    return f"{several} The last checkpoint is kept." if kept else several


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())


def _number(value: Tensor) -> float:
    """A scalar as Python has it."""
    number: Any = value.tolist()
    return number


def _value(value: Tensor) -> float:
    """The first entry that is not finite."""
    return _number(value[~value.isfinite()][0])


def _all_finite(tensors: list[Tensor]) -> bool:
    """Whether all entries are; by their sums, which are cheap, and one by one only where a sum is not finite."""
    floats = [value for value in tensors if value.is_floating_point()]
    with torch.no_grad():
        sums = torch.stack([value.sum() for value in floats])
    return all(map(math.isfinite, sums.tolist())) or all(map(_finite, floats))


def _first_broken(terms: dict[str, float]) -> str | None:
    """The first term that is not finite; the loss itself only where no other is."""
    broken = [name for name, value in terms.items() if not math.isfinite(value)]
    name = next((each for each in broken if each != "loss"), broken[0] if broken else None)
    return None if name is None else f"{name} is {terms[name]}"
