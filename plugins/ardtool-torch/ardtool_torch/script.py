"""A model that a Python file builds.

    from torch import nn

    INPUT_SHAPE = (1, 28, 28)      # of one sample; pixels come in [0, 1]
    LATENT_SHAPE = 16              # or (C, H, W)
    WEIGHTS = "run7/best.pt"       # may be left out: net.safetensors, net.pt or net.pth beside net.py; None: build() loads them itself

    def build() -> nn.Module: ...

The module has `encode(x)` and `decode(z)`, or submodules `encoder` and `decoder` that are called in their place. Encoding gives means, a
pair (means, log variances) or an `ardtool.Posterior`. The shapes may be attributes `input_shape` and `latent_shape` of the module instead.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ardtool import Posterior
from ardtool.errors import ArdtoolError, ModelFileError
from ardtool.storage.checkpoint import read_tensors

from .files import read, read_unchanged, reason, sha256

__all__ = ["ScriptAutoencoder", "build_script", "load_script"]

SUFFIXES = (".safetensors", ".pt", ".pth")
CONTRACT = "The README of ardtool-torch shows what the file defines."
MOST_NAMES = 6


class ScriptAutoencoder(nn.Module):
    """A user's module: encode takes samples (N, *input_shape), decode takes codes (N, *latent_shape).

    Arguments:
        model: what `build()` returned.
        input_shape, latent_shape: of one sample and of one code.
        record: what `build_script` takes.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...], latent_shape: tuple[int, ...], record: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.input_shape = input_shape
        self.latent_shape = latent_shape
        self.build_record = record

    def encode(self, x: Tensor) -> Posterior:
        return _posterior(_half(self.model, "encode")(x))

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        decode = _half(self.model, "decode")
        return decode(z) if context is None else decode(z, context)


def load_script(path: Path) -> ScriptAutoencoder:
    """The model of a script with its weights, on the CPU."""
    content = read(path)
    model, settings = _run(path, content)
    weights = _weights_file(path, settings)
    if weights is not None:
        _fill(model.model, read_tensors(weights), weights, path)
    _try_out(model.eval(), path)
    return model


def build_script(record: dict[str, Any]) -> ScriptAutoencoder:
    """The model of an unchanged script, with the weights that `build()` gives it."""
    path = Path(record["script"])
    return _run(path, read_unchanged(path, record["sha256"]))[0].eval()


def _run(path: Path, content: bytes) -> tuple[ScriptAutoencoder, dict[str, Any]]:
    """Run the script whose bytes were hashed, and its `build()`; also its names."""
    module = ModuleType(f"ardtool_torch_{path.stem}")
    module.__file__ = str(path.resolve())
    settings = vars(module)
    with _running(path, module):
        exec(compile(content, str(path), "exec", dont_inherit=True), settings)
        build = settings.get("build")
        model = build() if callable(build) else None
    if not callable(build):
        raise ModelFileError(f"{path} defines no function `build()` that returns a torch module.", CONTRACT)
    if not isinstance(model, nn.Module):
        raise ModelFileError(f"{path}: build() returns a {type(model).__name__}; expected a torch module.", CONTRACT)
    for half in ("encode", "decode"):
        if not hasattr(model, half) and not hasattr(model, f"{half}r"):
            raise ModelFileError(f"{path}: the module of build() has neither `{half}` nor `{half}r`.", CONTRACT)
    record = {"script": str(path.resolve()), "sha256": sha256(content)}
    shapes = [_shape(name, settings.get(name), model, path) for name in ("INPUT_SHAPE", "LATENT_SHAPE")]
    return ScriptAutoencoder(model, shapes[0], shapes[1], record), settings


@contextmanager
def _running(path: Path, module: ModuleType) -> Iterator[None]:
    """As `python net.py` would run it: its folder is searched for imports; what it prints goes to stderr; its failure is one line.

    What it imports from its own folder is forgotten afterwards, so that another script may import a file of the same name.
    """
    folder, before = path.resolve().parent, set(sys.modules)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(folder))
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else "?"
        raise ModelFileError(f"{path} fails in line {line}: {reason(error)}.", "Mend the file.") from error
    finally:
        with suppress(ValueError):
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and folder in Path(file).resolve().parents:
                del sys.modules[name]


def _half(model: nn.Module, name: str) -> Callable[..., Any]:
    """`encode` or `decode` of a module, else its submodule `encoder` or `decoder`."""
    return getattr(model, name) if hasattr(model, name) else getattr(model, f"{name}r")


def _shape(name: str, found: Any, model: nn.Module, path: Path) -> tuple[int, ...]:
    """A shape that the script or its module states."""
    if found is None:
        found = getattr(model, name.lower(), None)
    shape = (found,) if isinstance(found, int) else tuple(found) if isinstance(found, tuple | list | torch.Size) else ()
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ModelFileError(f"{path}: {name} is {found}; expected a number or a tuple of numbers, as (1, 28, 28).", CONTRACT)
    return shape


def _weights_file(path: Path, settings: dict[str, Any]) -> Path | None:
    """The file with the weights, None where `build()` has loaded them; weights are never left random."""
    if "WEIGHTS" in settings:
        named = settings["WEIGHTS"]
        if named is None:
            return None
        if not isinstance(named, str | Path) or not (path.parent / named).is_file():
            raise ModelFileError(f"{path} names WEIGHTS = {named!r}; there is no such file in {path.parent}.", "Mend the name.")
        return path.parent / named
    found = [path.with_suffix(suffix) for suffix in SUFFIXES if path.with_suffix(suffix).is_file()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(each.name for each in found or [path.with_suffix(suffix) for suffix in SUFFIXES])
    raise ModelFileError(
        f"{path} has several files of weights beside it: {names}." if found else f"{path} has no weights beside it: looked for {names}.",
        'Name the file in the script: WEIGHTS = "best.pt"; or WEIGHTS = None if build() loads them itself.',
    )


def _fill(model: nn.Module, found: dict[str, Tensor], weights: Path, script: Path) -> None:
    """Pour weights into a module, comparing names and shapes."""
    expected = model.state_dict()
    found = _without_prefix(found, set(expected))
    problems = [f"'{name}' is missing" for name in expected if name not in found]
    problems += [f"'{name}' is not part of the module" for name in found if name not in expected]
    problems += [
        f"'{name}' is {_sizes(value)}, the module has {_sizes(expected[name])}"
        for name, value in found.items()
        if name in expected and value.shape != expected[name].shape
    ]
    if problems:
        more = f"; and {len(problems) - MOST_NAMES} more" if len(problems) > MOST_NAMES else ""
        raise ModelFileError(
            f"{weights} does not fit the module of {script.name}: {'; '.join(problems[:MOST_NAMES])}{more}.",
            "Build the module with the settings of its training, or name another file as WEIGHTS.",
        )
    model.load_state_dict(found)


def _without_prefix(found: dict[str, Tensor], expected: set[str]) -> dict[str, Tensor]:
    """Names without what a wrapper put before all of them (`module.`, `_orig_mod.`), where that makes them fit exactly."""
    prefix = next(iter(found)).split(".")[0] + "."
    stripped = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    return stripped if len(stripped) == len(found) and set(stripped) == expected else found


def _try_out(model: ScriptAutoencoder, path: Path) -> None:
    """Two samples of zeros through both halves: a module that breaks its own shapes is named here, not deep in an analysis."""
    x = torch.zeros(2, *model.input_shape)
    try:
        with torch.no_grad():
            posterior = model.encode(x)
            codes = posterior.mean.shape
            decoded = model.decode(torch.zeros(2, *model.latent_shape), posterior.context).shape
    except ArdtoolError as error:
        raise ModelFileError(f"{path}: {error.message}", error.hint) from error
    except Exception as error:
        shapes = f"samples of {_sizes(x[0])} or codes of {'×'.join(map(str, model.latent_shape))}"
        raise ModelFileError(f"{path}: the module fails on {shapes}: {reason(error)}.", "Mend INPUT_SHAPE, LATENT_SHAPE or it.") from error
    for name, shape, stated in (("encode", codes, model.latent_shape), ("decode", decoded, model.input_shape)):
        if tuple(shape) != (2, *stated):
            wrong = "LATENT_SHAPE" if name == "encode" else "INPUT_SHAPE"
            raise ModelFileError(
                f"{path}: {name} gives {'×'.join(map(str, shape))} for 2 samples; {wrong} says {'×'.join(map(str, (2, *stated)))}.",
                f"Mend {wrong} or the module.",
            )


def _posterior(found: Any) -> Posterior:
    if isinstance(found, Posterior):
        return found
    if isinstance(found, Tensor):
        return Posterior(found)
    if isinstance(found, tuple | list) and len(found) == 2 and all(isinstance(each, Tensor) for each in found):
        return Posterior(found[0], found[1])
    raise ArdtoolError(
        f"encode gives a {type(found).__name__}; expected means, a pair (means, log variances) or a Posterior.", "Mend what it returns."
    )


def _sizes(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"
