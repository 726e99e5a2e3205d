"""What `prune` says about its result: in JSON beside the model, in the model's own description, and in exported decoders."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from ...latent.codes import LatentCodes
from ...latent.pruning import Equality, Pruning
from ...storage.model_file import SavedModel
from ...version import __version__
from ..opening import measured_by
from .spaces import KeptSpace

__all__ = ["PruneResult", "decoder_description", "pruned_metadata"]

SCHEMA = "ardtool.prune/1"
MOST_LISTED = 1024


@dataclass(frozen=True, repr=False)
class PruneResult:
    """A pruned model and the proof that it equals the original with dropped axes at their mean.

    Attributes:
        kept, dropped: axes of the opened model, in ascending order; of principal directions the numbers 0 to K − 1, and none.
        max_abs_difference: largest difference of any output on reference and fresh codes.
        output_scale: largest output there.
        output_change: mean squared difference per output to the full decoder with all axes free.
        mse: reconstruction error per output before and after, where data were given.
        parameters: numbers of the whole model before and after.
        bytes: of the weights that decoding reads, before and after.
        decode_seconds: per sample, before and after, on the device that was asked for.
        decoder: how the decoder was made smaller: `folded`, `bias map`, or `scatter` (it keeps its size).
        encoder: `rows removed` for axes and `folded` for directions; where it keeps its size, `selected` and `rotated`.
        basis: `axes` or `principal`.
        granularity: what the axes of a latent map are, `channel` or `element`; None for vectors.
        codes_from: `model`, `data`, `latents` or `prior`.
        latent_shape: of one code, before and after.
        curve: the cost of keeping the k most relevant axes by ascending k, where it was measured; `output_change` and `mse` by k.
        exports: one record a written model: kind, file, bytes, and what a fresh process found that loaded it.
        files: all files that were written.
        warnings: what to keep in mind about these numbers; in the JSON where there is something.
    """

    kept: list[int]
    dropped: list[int]
    max_abs_difference: float
    output_scale: float
    output_change: float
    mse: dict[str, float] | None
    parameters: dict[str, int]
    bytes: dict[str, int]
    decode_seconds: dict[str, float]
    decoder: str
    encoder: str
    basis: str
    granularity: str | None
    codes_from: str
    latent_shape: dict[str, list[int]]
    curve: list[dict[str, Any]] | None
    exports: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        before, after = self.parameters["before"], self.parameters["after"]
        total = len(self.kept) + len(self.dropped)
        return f"<PruneResult: kept {len(self.kept)} of {total}, {before:,} → {after:,} parameters; {', '.join(self.files)}>"

    @property
    def total(self) -> int:
        """How many axes there were; with a principal basis, how many elements."""
        shape = self.latent_shape["before"]
        return prod(shape) if self.basis == "principal" or self.granularity == "element" else shape[0]

    @property
    def noun(self) -> str:
        """What was counted, in the plural."""
        return "principal directions" if self.basis == "principal" else f"{self.granularity}s" if self.granularity else "latent axes"

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.prune/1`."""
        values = {name: value for name, value in vars(self).items() if name != "warnings"}
        return {"schema": SCHEMA, **values, **({"warnings": list(self.warnings)} if self.warnings else {})}


def pruned_metadata(
    model: SavedModel, codes: LatentCodes, space: KeptSpace, basis: str, pruning: Pruning, equality: Equality, is_plain: bool
) -> dict[str, Any]:
    """The original's description with the map of axes and the proof; axes count in the model that was trained.

    Arguments:
        is_plain: the pruned model is one of ardtool's own networks, which its architecture describes already.
    """
    original = model.original_axes
    by_axes = basis == "axes"
    saved = measured_by(model, codes).metadata.get("relevance")
    return {name: value for name, value in model.metadata.items() if name != "pruning"} | {
        "relevance": _relevance_of(saved, space.kept) if by_axes and saved is not None else None,
        "basis": "principal" if not by_axes else model.metadata.get("basis", "axes"),
        **({} if by_axes else {"sampler": None}),
        **({} if is_plain else {"pruning": pruning.record}),
        "axes": {
            "kept": [original[axis] for axis in space.kept] if by_axes else space.kept,
            "of": (model.metadata.get("axes") or {}).get("of", len(original)),
            "pruned_from_sha256": model.metadata.get("content_sha256"),
            "max_abs_difference": equality.max_abs_difference,
            "output_scale": equality.output_scale,
        },
    }


def _relevance_of(saved: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """Saved scores of the kept axes; their shares add up to 1 again."""
    explained = [saved["explained"][axis] for axis in kept]
    total = sum(explained) or 1.0
    active = [kept.index(axis) for axis in saved["active_axes"] if axis in kept]
    return saved | {"active_axes": active, "explained": [share / total for share in explained]}


def decoder_description(pruned: SavedModel) -> dict[str, Any]:
    """What an exported decoder says about itself: where it comes from, the units of its outputs, and how codes are distributed."""
    wanted = ("method", "axes", "basis", "granularity", "data")
    found: dict[str, Any] = {name: pruned.metadata[name] for name in wanted if pruned.metadata.get(name) is not None}
    found["ardtool_version"] = __version__
    if len(pruned.latent_axes.shape) == 1:
        found.pop("granularity", None)
    if pruned.scaling is not None:
        found["scaling"] = {"mean": pruned.scaling.mean.tolist(), "scale": pruned.scaling.scale.tolist()}
    codes = pruned.codes
    if codes is not None and codes.latent_dim <= MOST_LISTED:
        found["codes"] = {"mean": codes.statistics.mean.tolist(), "variance": codes.statistics.variance.tolist()}
    return found
