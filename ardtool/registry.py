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

__all__ = [
    "PluginListing",
    "PluginSpec",
    "build_foreign",
    "find_plugin",
    "foreign_record",
    "list_plugins",
    "load_foreign",
    "matching_plugins",
    "plugin_of_file",
]

GROUP = "ardtool.plugins"
LIMIT = "ARDTOOL_PLUGINS"
# known plugins that may not be installed: what their models look like, to name the command that installs them
KNOWN = {
    "ardtool-diffusers": "autoencoders of diffusers",
    "ardtool-pythae": "models of pythae",
    "ardtool-torch": "torch modules in a Python file, exported programs",
    "ardtool-scvi": "single-cell models of scvi-tools",
    "ardtool-example": "PCA models in .npz files",
}


@dataclass(frozen=True)
class PluginSpec:
    """What a plugin offers. Making one must import nothing heavy.

    Attributes:
        name: short and unique.
        summary: one line.
        matches: whether it reads a path, judged by names and headers; never unpickles.
        load: makes an `Autoencoder` from a path on a device; heavy imports happen inside.
        build: makes the same model with any weights from its JSON record (`Autoencoder.build_record`), to load a pruned model; or None.
        open_data: reads a data set in the model's own format as a `DataSet`, or None where the path is not in that format.
        risk: what loading a path, or building from a record, would execute, as half a sentence ("unpickles encoder.pkl"); None where
            nothing. Such a path is loaded after --trust only; `load` itself need not ask again.
    """

    name: str
    summary: str
    matches: Callable[[Path], bool]
    load: Callable[[Path, Any], Autoencoder]
    build: Callable[[dict[str, Any]], Autoencoder] | None = None
    open_data: Callable[[Path], Any] | None = None
    risk: Callable[[Path | dict[str, Any]], str | None] | None = None


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


def find_plugin(path: Path, wanted: str | Path | None = None) -> PluginSpec:
    """The plugin that reads a path.

    Arguments:
        path: the model.
        wanted: a plugin's name or a Python file that defines `plugin`, or None to ask every plugin.

    Raises:
        PluginError: none or several match, or the wanted one is missing or broken.
    """
    if wanted is not None:
        return _from_file(Path(wanted)) if str(wanted).endswith(".py") else _named(str(wanted))
    matching = matching_plugins(path)
    if len(matching) > 1:
        raise PluginError(f"Several plugins read {path}: {', '.join(spec.name for spec in matching)}.", "Choose one with --plugin NAME.")
    if not matching:
        installed = {listing.distribution for listing in list_plugins()}
        missing = "; ".join(f"{name} for {what}" for name, what in KNOWN.items() if name not in installed)
        raise PluginError(
            f"No plugin reads {path}.",
            f"`ardtool inspect {path}` says what it is; name a plugin with --plugin NAME or --plugin file.py."
            + (f" Not installed are {missing}; they lie in `plugins/` beside ardtool's source." if missing else ""),
        )
    return matching[0]


def matching_plugins(path: Path) -> list[PluginSpec]:
    """The installed plugins that read a path."""
    specs = [listing.spec for listing in list_plugins() if listing.spec is not None]
    return [spec for spec in specs if _matches(spec, path)]


def load_foreign(spec: PluginSpec, path: Path, device: Any, *, trust: bool = False) -> Autoencoder:
    """A plugin's model on a device.

    Raises:
        PluginError: loading would execute foreign code and the user has not said that it is trusted.
    """
    _ask(spec, path, str(path), trust)
    return spec.load(path, device)


def build_foreign(foreign: dict[str, Any], where: str, *, plugin: str | Path | None = None, trust: bool = False) -> Autoencoder:
    """The model that a pruned model's file describes, with any weights.

    Arguments:
        foreign: `plugin`, `distribution`, `version` and `record` as `foreign_record` made them.
        where: the file, for messages.
        plugin: the name or file of another plugin to build with.

    Raises:
        PluginError: the plugin is missing, cannot build, or would execute foreign code without the user's word.
    """
    spec = plugin_of_file(foreign, where, plugin)
    if spec.build is None:
        raise PluginError(
            f"The plugin '{spec.name}' cannot rebuild the model of {where}.", "Upgrade the plugin, or ask its author for `build`."
        )
    _ask(spec, foreign["record"], where, trust)
    return spec.build(foreign["record"])


def plugin_of_file(foreign: dict[str, Any], where: str, plugin: str | Path | None = None) -> PluginSpec:
    """The plugin that a pruned model's file names, or the one that the user names in its place.

    What stands in a file is looked for among installed plugins only: a path to Python code counts as the user's word alone.

    Raises:
        PluginError: it is missing or broken.
    """
    if plugin is not None:
        return find_plugin(Path(where), plugin)
    name, distribution = str(foreign.get("plugin")), foreign.get("distribution")
    try:
        return _named(name)
    except PluginError as error:
        install = f"Install {distribution}, which ardtool's source has in `plugins/`" if distribution in KNOWN else "Install that plugin"
        raise PluginError(
            f"{where} was made with the plugin {name!r}, which is not there: {error.message}",
            f"{install}, or name its file with --plugin file.py.",
        ) from None


def foreign_record(spec: PluginSpec, model: Autoencoder) -> dict[str, Any]:
    """What a file must say about a foreign model so that `build_foreign` makes it again; `record` is None where the plugin cannot."""
    listing = next((each for each in list_plugins() if each.spec is not None and each.spec.name == spec.name), None)
    return {
        "plugin": spec.name,
        "distribution": None if listing is None else listing.distribution,
        "version": None if listing is None else listing.version,
        "record": None if spec.build is None else getattr(model, "build_record", None),
    }


def _ask(spec: PluginSpec, what: Path | dict[str, Any], where: str, trust: bool) -> None:
    reason = None if trust or spec.risk is None else spec.risk(what)
    if reason is not None:
        raise PluginError(
            f"Loading {where} {reason}, which can run any code; it is not loaded unless you trust it.",
            "Where you know who made it, repeat the command with --trust.",
        )


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
