"""How much memory a command may use: `--max-memory`, and batches that fit.

On the CPU the limit is for the whole process, program and model included; on a GPU it is for what torch has allocated there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from torch import Tensor

from ..autoencoder import Autoencoder
from ..errors import ConfigError
from ..latent.chunks import MEMORY_BUDGET, AllocatedBytes, Shortage, decode_footprint, encoded, out_of_memory, within_memory

__all__ = ["MOST_ROWS", "budget_for", "decoding_rows", "encoding_rows", "parse_bytes", "resident_bytes"]

MOST_ROWS = 500
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "k": 2**10, "m": 2**20, "g": 2**30}
RESERVE = 64 * 2**20
SMALLEST_BUDGET = 16 * 2**20


def parse_bytes(text: str | int) -> int:
    """Bytes from "2GiB", "500MB" or a number.

    Raises:
        ConfigError: it is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(text))
    unit = UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None or float(found[1]) == 0:
        raise ConfigError(f"--max-memory is '{text}'; expected a size such as 2GiB or 500MB.", "Units are B, KB, MB, GB, KiB, MiB and GiB.")
    return int(float(found[1]) * unit)


def budget_for(max_memory: str | int | None, device: torch.device | str) -> int:
    """Bytes that the intermediate values of one step may take so that the limit holds; a usual amount without a limit.

    Raises:
        ConfigError: the limit is no size, or program and model take that much already.
    """
    if max_memory is None:
        return MEMORY_BUDGET
    limit = parse_bytes(max_memory)
    device = torch.device(device)
    taken = torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()
    left = limit - taken - (RESERVE if device.type != "cuda" else 0)
    if left < SMALLEST_BUDGET:
        least = (taken + RESERVE + SMALLEST_BUDGET) / 2**20
        raise ConfigError(
            f"--max-memory {max_memory}: program and model already take {taken / 2**20:,.0f} MiB.", f"Give at least {least:,.0f}MiB."
        )
    return left


def resident_bytes() -> int:
    """Memory that this process holds now; its largest so far where the system does not say."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        return int(statm.read_text().split()[1]) * resource.getpagesize()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def decoding_rows(model: Autoencoder, z: Tensor, context: Tensor | None, memory: int = MEMORY_BUDGET) -> int:
    """How many codes to decode at once; call it in `inference_mode`."""
    return max(1, min(MOST_ROWS, memory // decode_footprint(model, z, context)[0]))


@torch.no_grad()
def encoding_rows(model: Autoencoder, x: Tensor, memory: int = MEMORY_BUDGET) -> int:
    """How many samples like the first of x to encode at once; call it in `inference_mode`."""
    if len(x) < 2:
        return 1
    totals = []
    for rows in (1, 2):
        with AllocatedBytes() as allocated:
            found = within_memory(lambda rows=rows: encoded(model, x[:rows]))
        if isinstance(found, Shortage):
            if rows == 1:
                raise out_of_memory(found.said)
            return 1
        totals.append(allocated.total)
        del found
    return max(1, min(MOST_ROWS, memory // max(totals[1] - totals[0], x[0].numel() * 4, 1)))
