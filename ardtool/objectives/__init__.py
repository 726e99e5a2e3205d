"""What a network is trained for: one method a file over the small base in `objective.py`.

`OBJECTIVES` is the table of methods: a new method is one file here and one line in the table.
"""

from __future__ import annotations

from .ard_vae import ArdVae
from .beta_tcvae import BetaTcVae
from .dip_vae import DipVaeI, DipVaeII
from .geco import Geco
from .mask_aae import MaskAae
from .objective import Objective
from .rae import Ae, Rae
from .sigma_ard_vae import SigmaArdVae
from .sigma_vae import SigmaVae
from .vae import BetaVae, Vae
from .wae_gan import WaeGan
from .wae_mmd import WaeMmd

__all__ = ["ALIASES", "OBJECTIVES", "Objective"]

OBJECTIVES: dict[str, type[Objective]] = {
    "ard-vae": ArdVae,
    "vae": Vae,
    "beta-vae": BetaVae,
    "beta-tcvae": BetaTcVae,
    "dip-vae-i": DipVaeI,
    "dip-vae-ii": DipVaeII,
    "rae": Rae,
    "ae": Ae,
    "wae-mmd": WaeMmd,
    "wae-gan": WaeGan,
    "geco-l0-arm-vae": Geco,
    "mask-aae": MaskAae,
    "sigma-vae": SigmaVae,
    "sigma-ard-vae": SigmaArdVae,
}

ALIASES = {"aae": "wae-gan"}
