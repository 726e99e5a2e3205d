"""What a network is trained for: one method a file over the small base in `objective.py`.

`OBJECTIVES` is the table of methods: a new method is one file here and one line in the table.
"""

from __future__ import annotations

from .ard_vae import ArdVae
from .objective import Objective

__all__ = ["OBJECTIVES", "Objective"]

OBJECTIVES: dict[str, type[Objective]] = {"ard-vae": ArdVae}
