"""What the shell offers for the values of options. Nothing heavy is imported: a key was pressed and somebody waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["ARCHITECTURES", "METHODS", "data_sets", "one_of"]

# the names of `ardtool.objectives` and of the help of --arch, which are not imported here; tests hold that they are the same
METHODS = (
    "ard-vae", "vae", "beta-vae", "beta-tcvae", "dip-vae-i", "dip-vae-ii", "rae", "ae", "wae-mmd", "wae-gan", "geco-l0-arm-vae", "mask-aae",
    "sigma-vae", "sigma-ard-vae",
)  # fmt: skip
ARCHITECTURES = ("auto", "conv", "dense", "linear", "maskaae", "geco", "locatello", "paper")


def one_of(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Offers those words that begin as what is typed."""
    known = tuple(words)

    def offered(incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return offered


def data_sets(incomplete: str) -> list[str]:
    """The named data sets; where none fits, the shell goes on with files."""
    from ..data.catalogue import catalogue

    return [each.name for each in catalogue() if each.name.startswith(incomplete)]
