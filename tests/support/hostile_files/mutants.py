"""Bytes with flipped bits, cuts, insertions, repeated and swapped pieces, and extreme numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

__all__ = ["mutants"]


def mutants(content: bytes, count: int, draw: random.Random) -> Iterator[bytes]:
    """Flipped bits, cuts, insertions, repeated and swapped pieces, numbers replaced by extreme ones."""
    changes = (_flip, _flip, _cut, _insert, _repeat, _swap, _extreme, _extreme, _text)
    for _ in range(count):
        mutant = bytearray(content)
        for _ in range(draw.choice((1, 1, 1, 2, 8))):
            if mutant:
                draw.choice(changes)(mutant, draw)
        yield bytes(mutant)


def _where(mutant: bytearray, draw: random.Random) -> int:
    """A place, near the beginning or the end more often than not: headers lie there."""
    size = len(mutant)
    return draw.choice((draw.randrange(min(size, 64)), size - 1 - draw.randrange(min(size, 64)), draw.randrange(size)))


def _flip(mutant: bytearray, draw: random.Random) -> None:
    mutant[_where(mutant, draw)] ^= 1 << draw.randrange(8)


def _cut(mutant: bytearray, draw: random.Random) -> None:
    del mutant[_where(mutant, draw) :]


def _insert(mutant: bytearray, draw: random.Random) -> None:
    place = _where(mutant, draw)
    mutant[place:place] = draw.randbytes(draw.randint(1, 32))


def _repeat(mutant: bytearray, draw: random.Random) -> None:
    place = _where(mutant, draw)
    piece = mutant[place : place + draw.randint(1, 200)]
    mutant[place:place] = piece * draw.randint(1, 4)


def _swap(mutant: bytearray, draw: random.Random) -> None:
    place, other = sorted((_where(mutant, draw), _where(mutant, draw)))
    mutant[place:other] = mutant[place:other][::-1]


def _extreme(mutant: bytearray, draw: random.Random) -> None:
    place = _where(mutant, draw)
    number = draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1))
    packed = number.to_bytes(8, draw.choice(("little", "big")))
    mutant[place : place + 8] = packed if draw.random() < 0.5 else packed[:4]


def _text(mutant: bytearray, draw: random.Random) -> None:
    """Replace a number that is written in digits, as in headers and JSON."""
    found = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", bytes(mutant[:20_000]))]
    if found:
        first, last = draw.choice(found)
        words = (b"-1", b"0", b"1000000000000", b"NaN", b"null", b"[]", b"1e400", b"true", b'"x"', b"{}", b"99999999999999999999999")
        mutant[first:last] = draw.choice(words)
