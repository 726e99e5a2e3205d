"""Which plugin reads a path: ardtool's own format and foreign models come through the same door.

A plugin is an object of class `PluginSpec` under the entry-point group `ardtool.plugins`, or in a Python file that the user names with
`--plugin file.py`. The environment variable ARDTOOL_PLUGINS limits the installed plugins to the names it lists (empty: none). A broken
plugin is listed as broken and hurts nobody else.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import PluginError

if TYPE_CHECKING:
    from .autoencoder import Autoencoder

__all__ = ["PluginListing", "PluginSpec", "find_plugin", "list_plugins"]

GROUP = "ardtool.plugins"
LIMIT = "ARDTOOL_PLUGINS"
# known plugins that may not be installed: what their models look like, to name the command that installs them
KNOWN = {"ardtool-example": "PCA models in .npz files"}


@dataclass(frozen=True)
class PluginSpec:
    """What a plugin offers. Making one must import nothing heavy.

    Attributes:
        name: short and unique.
        summary: one line.
        matches: whether it reads a path, judged by names and headers; never unpickles.
        load: makes an `Autoencoder` from a path on a device; heavy imports happen inside.
        build: rebuilds an autoencoder from the JSON record of a pruned model, or None.
        open_data: reads a data set in the model's own format, or None.
    """

    name: str
    summary: str
    matches: Callable[[Path], bool]
    load: Callable[[Path, Any], Autoencoder]
    build: Callable[[dict[str, Any]], Autoencoder] | None = None
    open_data: Callable[[Path], Any] | None = None


@dataclass(frozen=True)
class PluginListing:
    """One row of `ardtool plugins`: a plugin, or the reason why it is broken."""

    name: str
    distribution: str
    version: str
    spec: PluginSpec | None
    problem: str = ""


def list_plugins() -> list[PluginListing]:
    """All installed plugins that ARDTOOL_PLUGINS admits, broken ones with their reason.

    Raises:
        PluginError: two distributions offer the same name.
    """
    allowed = os.environ.get(LIMIT)
    names = None if allowed is None else {name.strip() for name in allowed.split(",") if name.strip()}
    found = [entry for entry in entry_points(group=GROUP) if names is None or entry.name in names]
    listings = [_load(entry) for entry in sorted(found, key=lambda entry: entry.name)]
    for first, second in pairwise(listings):
        if first.name == second.name and first.distribution != second.distribution:
            raise PluginError(
                f"Two plugins are called '{first.name}': one from {first.distribution}, one from {second.distribution}.",
                f"Uninstall one of them, or leave it out with {LIMIT}.",
            )
    return listings


def find_plugin(path: Path, wanted: str | None = None) -> PluginSpec:
    """The plugin that reads a path.

    Arguments:
        path: the model.
        wanted: a plugin's name or a Python file that defines `plugin`, or None to ask every plugin.

    Raises:
        PluginError: none or several match, or the wanted one is missing or broken.
    """
    if wanted is not None:
        return _from_file(Path(wanted)) if wanted.endswith(".py") else _named(wanted)
    specs = [listing.spec for listing in list_plugins() if listing.spec is not None]
    matching = [spec for spec in specs if _matches(spec, path)]
    if len(matching) > 1:
        raise PluginError(f"Several plugins read {path}: {', '.join(spec.name for spec in matching)}.", "Choose one with --plugin NAME.")
    if not matching:
        known = "; ".join(f"`pip install {name}` for {what}" for name, what in KNOWN.items())
        raise PluginError(f"No plugin reads {path}.", f"Name one with --plugin NAME or --plugin file.py. Known plugins: {known}.")
    return matching[0]


def _named(name: str) -> PluginSpec:
    listings = {listing.name: listing for listing in list_plugins()}
    if name not in listings:
        raise PluginError(f"There is no plugin '{name}'.", f"Installed are {', '.join(listings) or 'none'}; `ardtool plugins` lists them.")
    spec = listings[name].spec
    if spec is None:
        raise PluginError(f"The plugin '{name}' is broken: {listings[name].problem}.", "Reinstall it, or tell its author.")
    return spec


def _from_file(path: Path) -> PluginSpec:
    if not path.exists():
        raise PluginError(f"The plugin file {path} does not exist.", "Give the path of a Python file that defines `plugin`.")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    assert module_spec is not None and module_spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise PluginError(f"The plugin file {path} fails: {type(error).__name__}: {error}.", "Mend the file.") from error
    spec = getattr(module, "plugin", None)
    if not isinstance(spec, PluginSpec):
        raise PluginError(f"The plugin file {path} defines no `plugin`.", "Add `plugin = ardtool.PluginSpec(...)` at its top level.")
    return spec


def _load(entry: EntryPoint) -> PluginListing:
    distribution = entry.dist.name if entry.dist is not None else "?"
    version = entry.dist.version if entry.dist is not None else "?"
    try:
        spec = entry.load()
    except Exception as error:  # a broken plugin must not break the others
        return PluginListing(entry.name, distribution, version, None, f"{type(error).__name__}: {error}")
    if not isinstance(spec, PluginSpec):
        return PluginListing(entry.name, distribution, version, None, f"its entry point is a {type(spec).__name__}, not a PluginSpec")
    return PluginListing(entry.name, distribution, version, spec)


def _matches(spec: PluginSpec, path: Path) -> bool:
    try:
        return bool(spec.matches(path))
    except Exception:  # a plugin that cannot judge a path does not read it
        return False
