"""The proof that a pruned decoder equals the original one with everything held still that was dropped: here, and for files elsewhere."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...autoencoder import Posterior
from ...errors import ArdtoolError
from ...latent.chunks import decode_footprint
from ...latent.codes import LatentCodes
from ...latent.jacobian import inference_mode
from ...latent.pruning import Equality, measure_equality
from ...latent.sampling import draw_codes
from .files import LARGEST_DIFFERENCE
from .measure import over_batches
from .spaces import KeptSpace

__all__ = ["affordable_reference", "affordable_rows", "expected_outputs", "prove_equal"]

FRESH_CODES = 256
FILE_CODES = 100
FEWEST_CODES = 16
MOST_BYTES = 2**34  # of the intermediate values of all reference codes together
PROOF_BYTES = 2**33  # of those that are decoded in float64, some four times as slow


def affordable_rows(model: Any, reference: Posterior, device: torch.device | str, most: int = MOST_BYTES) -> int:
    """How many codes have intermediate values of so many bytes together, one at least."""
    first = reference.rows(slice(0, 1))
    with inference_mode(model):
        found = decode_footprint(model, first.mean.to(device), None if first.context is None else first.context.to(device))
    return max(1, most // found.row)


def affordable_reference(model: Any, codes: LatentCodes, device: torch.device) -> Posterior:
    """The reference codes, all 1,000 or, where a decoder's intermediate values are large, the first so many; 16 at least."""
    return codes.reference.rows(slice(0, max(FEWEST_CODES, affordable_rows(model, codes.reference, device))))


def prove_equal(full: Any, small: Any, space: KeptSpace, codes: LatentCodes, reference: Posterior, seed: int) -> Equality:
    """Compare both decoders on reference codes and fresh ones, in float64 where the model allows it, so that rounding hides nothing.

    Raises:
        ArdtoolError: they differ.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    first, second, kind, device = _twins(full, small, space, reference)
    context = None if reference.context is None else reference.context.to(device)
    moved = replace(reference, mean=reference.mean.to(device, kind), context=context)
    rows = max(FEWEST_CODES, affordable_rows(first, moved, device, PROOF_BYTES))
    fresh = draw_codes(codes, min(rows, FRESH_CODES), "full-gaussian", list(range(codes.latent_dim)), generator)
    with inference_mode(first), inference_mode(second):
        equality = measure_equality(first, second, space.shorten, space.hold, moved.rows(slice(0, rows)), fresh.to(device, kind))
    if not equality.relative <= LARGEST_DIFFERENCE:
        raise ArdtoolError(
            f"The pruned decoder differs from the original by {equality.relative:.1e} of the output's scale; expected at most "
            f"{LARGEST_DIFFERENCE:g}. Nothing was written.",
            "Please report this model.",
        )
    return equality


def _twins(full: Any, small: Any, space: KeptSpace, reference: Posterior) -> tuple[Any, Any, torch.dtype, torch.device]:
    """Copies of both models in float64 on the CPU with the type and place of their codes; as they are where their code is for float32."""
    one = reference.rows(slice(0, 1))
    z = one.mean.double().cpu()
    try:
        first, second = (copy.deepcopy(model).cpu().double() for model in (full, small))
        with inference_mode(first), inference_mode(second):
            first.decode(z, one.context)
            second.decode(space.shorten(z), one.context)
    except Exception:  # a foreign model may refuse to be copied, or compute in types of its own
        device = next((value.device for value in full.parameters()), torch.device("cpu"))
        return full, small, torch.float32, device
    return first, second, torch.float64, torch.device("cpu")


def expected_outputs(full: Any, space: KeptSpace, reference: Posterior) -> tuple[Posterior, Tensor]:
    """Some codes of the pruned model, and what the original decodes there with all else held still, in float32 on the CPU."""
    few = reference.rows(slice(0, FILE_CODES))
    on_cpu = all(value.device.type == "cpu" for value in full.parameters())
    model = full if on_cpu else copy.deepcopy(full).cpu()
    with inference_mode(model):
        outputs = list(over_batches(model, few, "cpu", lambda z, context, _: model.decode(space.hold(z), context).float()))
    return Posterior(space.shorten(few.mean), None, few.context), torch.cat(outputs)
