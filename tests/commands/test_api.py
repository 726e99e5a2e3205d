"""The functions behind the commands: every argument is explained, errors are named, and results say what they are in one line."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import Any

import pytest

import ardtool

FUNCTIONS = [name for name in ardtool.__all__ if inspect.isfunction(getattr(ardtool, name))]


def explained(function: Callable[..., Any]) -> set[str]:
    """The names before the colons of the docstring's section of arguments."""
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Arguments:\n(.*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^    (\w[\w, ]*):", section[1] if section else "", re.MULTILINE)
    return {name.strip() for line in lines for name in line.split(",")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_explained_and_errors_are_named(name):
    function = getattr(ardtool, name)
    assert explained(function) >= set(inspect.signature(function).parameters)
    assert "Raises:" in (function.__doc__ or "")


def public_functions() -> list[Callable[..., Any]]:
    found = []
    for module in pkgutil.walk_packages(ardtool.__path__, "ardtool."):
        if module.name.rpartition(".")[2] in ("__main__", "fresh_main"):
            continue
        room = importlib.import_module(module.name)
        names = [getattr(room, name) for name in getattr(room, "__all__", ())]
        found += [each for each in names if inspect.isfunction(each) and each.__module__ == module.name]
    return found


def test_every_public_function_has_a_docstring_of_its_own():
    """One that begins with "The same" can only be understood beside its neighbour."""
    functions = public_functions()
    assert len(functions) > 400
    poor = [f"{each.__module__}.{each.__name__}" for each in functions if not each.__doc__ or each.__doc__.startswith("The same")]
    assert poor == []


def test_results_say_what_they_are(vectors_run, vectors_file, tmp_path):
    scores = ardtool.relevance(vectors_run.model)
    assert re.fullmatch(r"<RelevanceResult: \d of \d latent axes relevant, 95 % interval \d–\d, threshold 99 %: [\d, ]+; .*>", repr(scores))
    assert re.fullmatch(r"<TrainResult: \d of \d latent axes relevant, .* epochs; .*>", repr(vectors_run))
    small = ardtool.prune(vectors_run.model, out=tmp_path / "small.safetensors", keep=2)
    assert repr(small).startswith("<PruneResult: kept 2 of ")
    metrics = ardtool.evaluate(vectors_run.model, data=str(vectors_file), metrics=["mse"], out=tmp_path / "m.json")
    assert re.fullmatch(r"<EvaluateResult: mse \S+, mse_active \S+ on \w+; .*>", repr(metrics))


def test_long_lists_of_axes_are_cut(vectors_run):
    from dataclasses import replace

    scores = ardtool.relevance(vectors_run.model)
    many = replace(scores, axes=tuple(replace(scores.axes[0], axis=k, active=True) for k in range(300)))
    assert len(repr(many)) < 300 + len(scores.model)
