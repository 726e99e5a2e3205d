"""What `evaluate` returns: numbers with their errors, how they came about, and the JSON contract `ardtool.metrics/1`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...metrics.reconstruction import mean_and_stderr
from ...storage.atomic import finite

__all__ = ["SCHEMA", "EvaluateResult", "Measured", "MetricValue", "over_samples"]

SCHEMA = "ardtool.metrics/1"


@dataclass(frozen=True)
class MetricValue:
    """One number.

    Attributes:
        value: NaN where it is not defined.
        stderr: its standard error; NaN where none is known.
        n: how many samples it was measured on.
        axes: `all` or `active` latent axes, or `-` where no code is involved.
        unit: what it is measured in; for scores the range, and whether higher or lower is better.
        family: what was measured together with it; numbers of one family are replaced together and never mixed.
        provenance: the convention: whatever must be equal for two such numbers to be compared.
        details: by-products that help to read the number.
    """

    value: float
    stderr: float
    n: int
    axes: str
    unit: str
    family: str
    provenance: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; numbers that are not finite become null, and what is empty is left out."""
        return finite({name: value for name, value in vars(self).items() if value != {}})


@dataclass(frozen=True)
class Measured:
    """What one metric found.

    Attributes:
        values: by name.
        curves: rows of a table by name, for what is no single number.
        notes: what to keep in mind about these numbers, one sentence each.
    """

    values: dict[str, MetricValue] = field(default_factory=dict)
    curves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class EvaluateResult:
    """Metrics by name.

    Attributes:
        model, data: their names.
        curves: rows of tables by name: `mse` over the number of axes kept.
        active: number of active axes; None where a single sample tells none.
        model_sha256: content hash of the model file, or None for a model that ardtool did not write.
        data_sha256: hash of the samples.
        left_out: metrics of a group that was asked for which model or data cannot have, and what they lack.
        note: what to keep in mind about these numbers, or None.
        file: where they were written, or None; no part of the JSON.
    """

    model: str
    data: str
    metrics: dict[str, MetricValue]
    curves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    active: int | None = None
    model_sha256: str | None = None
    data_sha256: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    note: str | None = None
    file: str | None = None

    def __repr__(self) -> str:
        values = (f"{name} {value.value:.4g}" for name, value in self.metrics.items())
        return f"<EvaluateResult: {', '.join(values) or 'no metrics'} on {self.data}; {self.model}>"

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.metrics/1`."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "active": self.active,
            "metrics": {name: value.to_dict() for name, value in self.metrics.items()},
            **({"curves": finite(self.curves)} if self.curves else {}),
            **({"left_out": self.left_out} if self.left_out else {}),
            **({} if self.note is None else {"note": self.note}),
        }


def over_samples(
    per_sample: Tensor, axes: str, unit: str, family: str, provenance: dict[str, Any] | None = None, **details: Any
) -> MetricValue:
    """The mean of values with shape (N,) and its standard error."""
    value, stderr = mean_and_stderr(per_sample)
    return MetricValue(value, stderr, len(per_sample), axes, unit, family, provenance or {}, details)
