"""`inspect`: what a file or folder is, which tensors it holds, what it would run, and who reads it; nothing is executed or loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from shlex import quote
from typing import Any

from ..errors import ModelFileError
from ..registry import PluginSpec, matching_plugins
from ..storage.contents import Contents, TensorInfo, contents_of
from ..storage.header import FileKind, identify

__all__ = ["InspectResult", "inspect"]

SCHEMA = "ardtool.inspect/1"
OWN = ("ardtool", "run")
NO_MODEL = ("html", "git-lfs", "empty", "truncated", "gzip", "tar")
# what to do with a kind of file that no installed plugin reads
ROUTES = {
    "html": "Download the file again; its address answered with a page.",
    "git-lfs": "Fetch the file itself with `git lfs pull`.",
    "empty": "Copy or download the file again.",
    "truncated": "Copy or download the file again.",
    "npz": "Train on it with `ardtool train --data {path}`, or take codes from it with `ardtool relevance MODEL --latents {path}`.",
    "npy": "Train on it with `ardtool train --data {path}`, or take codes from it with `ardtool relevance MODEL --latents {path}`.",
    "pt2": "Install its plugin, `plugins/ardtool-torch` in ardtool's source; it loads on your word alone, with --trust.",
    "torchscript": "Save the `state_dict` of the module it was made from, or export that module with torch.export.",
    "onnx": "Go back to the torch model it was exported from; ardtool needs its derivatives.",
    "hdf5": "Save the arrays that you need as .npz.",
    "gzip": "Unpack it and inspect what is inside.",
    "tar": "Unpack it and inspect what is inside.",
    "zip": "Unpack it and inspect what is inside.",
    "diffusers": "Install its plugin, `plugins/ardtool-diffusers` in ardtool's source.",
    "pythae": "Install its plugin, `plugins/ardtool-pythae` in ardtool's source.",
    "scvi": "Install its plugin, `plugins/ardtool-scvi` in ardtool's source.",
    "folder": "Inspect a file in it.",
    "text": "Give a model file.",
    "unknown": "Name the plugin that reads it with --plugin NAME or --plugin file.py.",
}


@dataclass(frozen=True)
class InspectResult:
    """What a file is.

    Attributes:
        kind: one word, and `description` in words; see `FileKind`.
        bytes: its size; of a folder, of the files right inside it.
        tensors: the state dict in the order of the file; its names, shapes and types alone.
        parameters: numbers in all these tensors, buffers among them.
        unsafe_globals: what loading it with pickle would import, beyond tensors and plain containers.
        metadata: what the file says about itself.
        problem: why its contents cannot be read, or None.
        plugin: the plugin that reads it, where just one does; `plugins_matching`: all that do.
        next: one sentence with the next step.
    """

    path: str
    kind: str
    description: str
    bytes: int
    tensors: list[TensorInfo]
    parameters: int
    unsafe_globals: list[str]
    metadata: dict[str, Any]
    problem: str | None
    plugin: str | None
    plugins_matching: list[str] = field(default_factory=list)
    next: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.inspect/1`."""
        return {"schema": SCHEMA, **asdict(self)}


def inspect(path: str | Path) -> InspectResult:
    """Look at a file or folder without loading or executing any of it.

    Arguments:
        path: of a model, a run, a checkpoint or anything else.

    Raises:
        ModelFileError: there is nothing at the path, or it cannot be opened.
        PluginError: two installed plugins have the same name.
    """
    path = Path(path)
    kind = identify(path)
    damaged = False
    try:
        contents = contents_of(path, kind)
    except ModelFileError as error:
        contents, damaged = Contents(problem=error.message), True
    matching = [] if kind.kind in (*NO_MODEL, *OWN) else matching_plugins(path)
    return InspectResult(
        path=str(path),
        kind=kind.kind,
        description=kind.description,
        bytes=_size(path),
        tensors=contents.tensors,
        parameters=sum(prod(tensor.shape) for tensor in contents.tensors),
        unsafe_globals=contents.unsafe_globals,
        metadata=contents.metadata,
        problem=contents.problem,
        plugin=matching[0].name if len(matching) == 1 else None,
        plugins_matching=[spec.name for spec in matching],
        next=ROUTES["truncated"] if damaged else _next_step(path, kind, contents, matching),
    )


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.iterdir() if each.is_file())
    return path.stat().st_size


def _next_step(path: Path, kind: FileKind, contents: Contents, matching: list[PluginSpec]) -> str:
    shown = quote(str(path))
    if kind.kind in OWN:
        finished = path.is_file() or (path / "model.safetensors").is_file()
        return _scored(shown, contents.metadata) if finished else f"Go on with `ardtool train --resume --out {shown}`."
    if len(matching) == 1:
        trust = " --trust" if _risk(matching[0], path) else ""
        codes = ", or --latents codes.npz where it has no encoder" if kind.kind == "pt2" else ""
        return f"Score its axes with `ardtool relevance {shown} --data X{trust}`, where X are data that it was trained on{codes}."
    if matching:
        names = ", ".join(spec.name for spec in matching)
        return f"Choose one of the plugins {names}: `ardtool relevance {shown} --plugin {matching[0].name} --data X`."
    if kind.kind == "pickle" or (contents.unsafe_globals and path.is_file()):
        return f"Take its tensors out with `ardtool convert {shown} --out {quote(path.stem)}.safetensors`, which runs nothing."
    return ROUTES.get(kind.kind, "Name the plugin that builds its model with --plugin NAME or --plugin file.py.").format(path=shown)


def _scored(shown: str, description: dict[str, Any]) -> str:
    """The next step with one of ardtool's own files, whose structure may come from a plugin."""
    foreign = description.get("foreign")
    if not isinstance(foreign, dict):
        return f"Score its axes with `ardtool relevance {shown}`."
    return f"Score its axes with `ardtool relevance {shown}`, with the plugin '{foreign.get('plugin')}'; --trust where it asks."


def _risk(spec: PluginSpec, path: Path) -> bool:
    """Whether a plugin says that loading would execute something; one that cannot tell may."""
    try:
        return spec.risk is not None and spec.risk(path) is not None
    except Exception:
        return True
