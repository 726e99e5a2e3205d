"""The errors a user sees: one line that says what, where and what was expected, and a hint with the next step.

Library code raises these for every mistake a user can make; the command line prints them without a traceback and
exits with code 1. An `assert` is for states that cannot happen.
"""

from __future__ import annotations

__all__ = [
    "ArdtoolError",
    "ConfigError",
    "DataError",
    "ModelFileError",
    "PluginError",
    "StorageError",
    "TrainingError",
    "first_line",
    "plain",
    "reason_of",
    "shortened",
]

LONGEST = 10_000  # letters of a message or a hint
LONGEST_QUOTE = 500  # letters of what a library says
LONGEST_REASON = 200  # letters of the same within a sentence


class ArdtoolError(Exception):
    """Something the user can mend.

    Arguments:
        message: what is wrong and where, with what was expected and what was found.
        hint: the next step, a full sentence or a command; empty where there is none.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        message, hint = plain(message), plain(hint)
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} Hint: {self.hint}" if self.hint else self.message


class ConfigError(ArdtoolError):
    """A setting is out of its range, unknown, or contradicts another."""


class DataError(ArdtoolError):
    """A data set cannot be found, read or used."""


class ModelFileError(ArdtoolError):
    """A model file cannot be read, or is not what its metadata say."""


class StorageError(ArdtoolError):
    """A file cannot be written."""


class PluginError(ArdtoolError):
    """A plugin is missing, broken, or clashes with another."""


class TrainingError(ArdtoolError):
    """Training cannot start or go on."""


def plain(text: str) -> str:
    """One line that a terminal shows as it is: names out of foreign files may hold anything."""
    text = "".join(letter if letter.isprintable() else " " if letter.isspace() else "�" for letter in text)
    return shortened(text, LONGEST)


def shortened(text: str, most: int) -> str:
    """The text, or its first letters and an ellipsis where it has more than `most`: libraries quote what a file holds."""
    return text if len(text) <= most else f"{text[:most]}…"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without its full stop, cut where a file is quoted at length; its name where it says nothing."""
    return shortened((str(error).strip().splitlines() or [type(error).__name__])[0].strip().rstrip("."), LONGEST_QUOTE)


def reason_of(error: Exception) -> str:
    """What an error of another library says, in one line and without the full stop."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shortened(plain(" ".join(said.split())), LONGEST_REASON).rstrip(".") or type(error).__name__
