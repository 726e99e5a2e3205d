"""Elements of HTML and SVG. What is put into one is escaped unless it is markup itself, so text of any origin stays text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ...errors import plain

__all__ = ["Markup", "joined", "tag"]

VOID = frozenset({"img", "input", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element: `tag("td", 3, class_="text", data_value=3)` is `<td class="text" data-value="3">3</td>`.

    An attribute that is True stands without a value, one that is None or False is left out; underscores in names are dashes.
    """
    written = "".join(
        f" {key.strip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(plain(str(value)))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{joined(content)}</{name}>")


def joined(content: Iterable[object]) -> Markup:
    """Pieces one after another; None is nothing."""
    return Markup("".join(each if isinstance(each, Markup) else escape(plain(str(each))) for each in content if each is not None))
