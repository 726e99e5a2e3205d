"""The closed table of ardtool's networks: their names, the data they take, their specifications."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import ConfigError
from .rivals import LOCATELLO, MASKAAE, geco
from .specs import LINEAR, OWN_DENSE, PAPER_NETWORKS, SMALL_SIDE, ConvolutionalSpec, DenseSpec, default_convolutional

__all__ = ["ARCHITECTURES", "NARROWER", "NETWORKS", "OWN_NETWORKS", "Architecture", "network_named"]

NARROWER = (2, 4, 8)  # what a name may end with: `conv/4` has a quarter of the channels and hidden units of `conv`


@dataclass(frozen=True)
class Architecture:
    """A network that `--arch` names.

    Attributes:
        spec: the specification, or a function that makes it for data of a shape.
        only: the one shape (C, H, W) that it takes, with None for any number of channels; None where it takes more shapes.
        smallest_side: fewest pixels of an image's sides; 0 where it takes any shape, vectors as well.
    """

    spec: ConvolutionalSpec | DenseSpec | Callable[[tuple[int, ...]], ConvolutionalSpec | DenseSpec]
    only: tuple[int | None, int, int] | None = None
    smallest_side: int = 0

    def spec_for(self, shape: tuple[int, ...]) -> ConvolutionalSpec | DenseSpec:
        """The specification for data of a shape that it takes."""
        return self.spec(shape) if callable(self.spec) else self.spec

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse data of a shape that it does not take.

        Raises:
            ConfigError: naming both shapes.
        """
        found, is_image = "×".join(map(str, shape)), len(shape) == 3
        if self.only is not None and not (is_image and all(a in (None, b) for a, b in zip(self.only, shape, strict=True))):
            expected = "×".join(str(side) for side in self.only if side is not None)
            raise ConfigError(
                f"--arch {name} takes images of {expected}; the data are {found}.", f"Use --arch auto{', or --image-size' * is_image}."
            )
        if self.smallest_side and (not is_image or min(shape[1:]) < self.smallest_side):
            side = self.smallest_side
            raise ConfigError(f"--arch {name} takes images of at least {side}×{side} pixels; the data are {found}.", "Use --arch dense.")


OWN_NETWORKS = {
    "conv": Architecture(default_convolutional, smallest_side=SMALL_SIDE),
    "dense": Architecture(OWN_DENSE),
    "linear": Architecture(LINEAR),
}
NETWORKS = OWN_NETWORKS | {
    "maskaae": Architecture(MASKAAE),
    "geco": Architecture(geco, smallest_side=SMALL_SIDE),
    "locatello": Architecture(LOCATELLO, only=(None, 64, 64)),
    **{name: Architecture(spec, only=shape) for name, (shape, spec) in PAPER_NETWORKS.items()},
}
ARCHITECTURES = ("auto", "paper", *NETWORKS)


def network_named(name: str) -> Architecture:
    """The architecture of a full name, such as `conv` or `paper-mnist/4`.

    Raises:
        ConfigError: there is none.
    """
    base, slash, divisor = name.partition("/")
    if base not in NETWORKS:
        raise ConfigError(f"Unknown architecture '{name}'.", f"Known are {', '.join(NETWORKS)}.")
    if not slash:
        return NETWORKS[base]
    if divisor not in map(str, NARROWER):
        widths = ", ".join(f"{base}/{each}" for each in NARROWER)
        raise ConfigError(f"Unknown architecture '{name}'.", f"Narrower than {base} are {widths}.")
    whole = NETWORKS[base]
    return replace(whole, spec=lambda shape: whole.spec_for(shape).narrowed(int(divisor)))
