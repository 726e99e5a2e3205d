"""The closed table of ardtool's networks: their names, the data they take, their specifications."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ConfigError
from .rivals import LOCATELLO, MASKAAE, geco
from .specs import LINEAR, OWN_DENSE, PAPER_NETWORKS, SMALL_SIDE, ConvolutionalSpec, DenseSpec, default_convolutional

__all__ = ["ARCHITECTURES", "NETWORKS", "OWN_NETWORKS", "Architecture"]


@dataclass(frozen=True)
class Architecture:
    """A network that `--arch` names.

    Attributes:
        spec: the specification, or a function that makes it for data of a shape.
        only: the one shape (C, H, W) that it takes, with None for any number of channels; None where it takes more shapes.
        smallest_side: fewest pixels of an image's sides; 0 where it takes any shape, vectors as well.
    """

    spec: ConvolutionalSpec | DenseSpec | Callable[[tuple[int, ...]], ConvolutionalSpec]
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
