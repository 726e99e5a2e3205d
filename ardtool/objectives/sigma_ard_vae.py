"""σ-ARD-VAE: the ARD-VAE whose decoder is kept calibrated, β = 2 · running mean squared error per output, so that no β is chosen.

It is `ard-vae` with `--beta auto`, see `ard_vae.py`; calibration as in Rybkin et al., arXiv 2006.13202.
"""

from __future__ import annotations

from types import MappingProxyType

from .ard_vae import ArdVae

__all__ = ["SigmaArdVae"]


class SigmaArdVae(ArdVae):
    """The ARD-VAE objective with a calibrated decoder."""

    summary_line = "ARD-VAE with a calibrated decoder, so that no β is chosen"
    paper = "as ard-vae, with Rybkin et al., arXiv 2006.13202"
    takes = ArdVae.takes - {"beta", "target_mse", "beta_warmup"}
    table = MappingProxyType({"": {"beta": "auto"}})
