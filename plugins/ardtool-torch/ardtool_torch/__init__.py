"""Models of torch: a module that a Python file builds, and exported programs (.pt2).

    net.py            defines `build()`, `INPUT_SHAPE`, `LATENT_SHAPE`; weights lie beside it. Naming the file is the word to run it.
    decoder.pt2       a decoder exported by torch.export, or a folder with encoder.pt2 and decoder.pt2. Loading one unpickles: --trust.

A pruned model refers to its file by path and sha256, and is rebuilt from it after --trust, as anybody could have written that path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ardtool import PluginSpec

__all__ = ["plugin"]

PROGRAM = "unpickles what an exported program holds"


def matches(path: Path) -> bool:
    """A .py or .pt2 file, or a folder with decoder.pt2."""
    return path.suffix in (".py", ".pt2") or (path / "decoder.pt2").is_file()


def risk(what: Path | dict[str, Any]) -> str | None:
    """What loading executes beyond a script that the user named."""
    if isinstance(what, dict):
        return f"runs {what['script']}" if "script" in what else PROGRAM
    return None if what.suffix == ".py" else PROGRAM


def load(path: Path, device: Any) -> Any:
    """The model as an `Autoencoder`.

    Raises:
        ModelFileError: the script fails or does not keep its contract, its weights are missing or do not fit, or a program cannot be read.
    """
    if path.suffix == ".py":
        from .script import load_script

        return load_script(path).to(device)
    from .program import load_programs

    return load_programs(path).to(device)


def build(record: dict[str, Any]) -> Any:
    """The same model: a script's with any weights, or the programs themselves.

    Raises:
        ModelFileError: a file is missing, or has changed since the model was pruned.
    """
    if "script" in record:
        from .script import build_script

        return build_script(record)
    from .program import build_programs

    return build_programs(record)


plugin = PluginSpec("torch", "torch modules in a Python file, exported programs (.pt2)", matches, load, build=build, risk=risk)
