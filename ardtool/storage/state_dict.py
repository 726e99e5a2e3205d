"""Where in a checkpoint the weights are: a flat dict of tensors, a dict inside a dict, or a whole module.

Works on what torch loaded and on records that stand for it alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .stub_pickle import Stub

__all__ = ["find_tensors"]

CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "weights")
DEEPEST, MOST_MODULES, MOST_TENSORS = 100, 100_000, 1_000_000  # a module may hold itself


def find_tensors(root: Any, is_tensor: Callable[[Any], bool]) -> tuple[dict[str, Any], str]:
    """The tensors of a checkpoint by name, and the key under which they lie ("" for the top).

    The first of `state_dict`, `model_state_dict`, `model`, `module` and `weights` that holds tensors is taken, itself or one of these
    inside it. Without any, all tensors at the top and one level below count; those below get the outer key as a prefix.
    """
    if is_tensor(root):
        return {"tensor": root}, ""
    whole = _modules(root, is_tensor)
    if whole:
        return whole, ""
    top = _entries(root)
    for key in CONTAINERS:
        if key in top:
            named = _named(top[key], is_tensor)
            if named:
                return named, key
            inside = _entries(top[key])
            for inner in CONTAINERS:
                named = _named(inside[inner], is_tensor) if inner in inside else {}
                if named:
                    return named, f"{key}.{inner}"
    found = {name: value for name, value in top.items() if is_tensor(value)}
    for name, value in top.items():
        found |= {f"{name}.{inner}": each for inner, each in _named(value, is_tensor).items()}
    return found, ""


def _entries(value: Any) -> dict[str, Any]:
    """What a dict holds under text keys, or a list under its positions."""
    if isinstance(value, Stub):
        value = value.entries
    if isinstance(value, list | tuple):
        return {str(index): each for index, each in enumerate(value)}
    return {key: each for key, each in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _named(value: Any, is_tensor: Callable[[Any], bool]) -> dict[str, Any]:
    """The tensors right inside a dict or list, or of a whole module."""
    return _modules(value, is_tensor) or {name: each for name, each in _entries(value).items() if is_tensor(each)}


def _modules(value: Any, is_tensor: Callable[[Any], bool]) -> dict[str, Any]:
    """Parameters and buffers of a module by dotted names, as its `state_dict` would give them; nothing for other objects."""
    found: dict[str, Any] = {}
    waiting = [("", value, 0)]
    visits = 0
    while waiting and visits < MOST_MODULES and len(found) < MOST_TENSORS:
        prefix, module, depth = waiting.pop()
        visits += 1
        if not isinstance(module, Stub) or not isinstance(module.state, dict) or depth > DEEPEST:
            continue
        passing = module.state.get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, list) else []
        for part in ("_parameters", "_buffers"):
            for name, each in _entries(module.state.get(part)).items():
                if is_tensor(each) and not (part == "_buffers" and name in passing):
                    found[prefix + name] = each
        children = _entries(module.state.get("_modules"))
        room = max(MOST_MODULES - visits - len(waiting), 0)
        waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(list(children.items())[:room])]
    return found
