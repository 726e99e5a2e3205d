"""The application: its commands, and how mistakes end."""

from __future__ import annotations

import errno
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import ArdtoolError
from ..version import __version__
from .allocator import keep_freed_memory
from .compare import compare
from .convert import convert
from .encode import decode, encode
from .evaluate import evaluate
from .inspect import inspect
from .listing import data, plugins
from .options import SHARED
from .processes import one_voice, speaks
from .prune import prune
from .relevance import relevance
from .sample import sample
from .train import train
from .traverse import traverse

__all__ = ["app", "run"]

# what a file system answers when the user can help it: everything else is a bug and keeps its traceback
FILE_TROUBLE = (
    errno.ENOSPC,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EDQUOT,
    errno.EIO,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EMFILE,
    errno.ENAMETOOLONG,
)
MAIN, MODELS, MORE = "The six verbs", "Codes", "Lists"


class _Command(TyperCommand):
    """A command whose --help stands with the options that all commands share."""

    def get_help_option(self, ctx: Any) -> Any:
        option: Any = super().get_help_option(ctx)
        if option is not None:
            option.metavar, option.rich_help_panel = "", SHARED
        return option


class _Group(TyperGroup):
    """Runs a command and ends mistakes with one line and its hint."""

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        for each in parameters:
            if each.name in ("install_completion", "show_completion"):
                each.metavar = ""  # switches, which typer shows as <bool>
        return parameters

    def get_help_option(self, ctx: Any) -> Any:
        option: Any = super().get_help_option(ctx)
        if option is not None:
            option.metavar = ""
        return option

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ArdtoolError as error:
            _fail(error.message, error.hint)
        except KeyboardInterrupt:
            if speaks():
                _say("interrupted", "", "yellow")
            raise typer.Exit(130) from None
        except OSError as error:
            if error.errno not in FILE_TROUBLE:
                raise
            place = f"{error.filename}: " if error.filename else ""
            _fail(f"{place}{error.strerror}.", "Free space, or choose another place with --out.")
        except Exception as error:
            if not _is_shortage(error):
                raise
            _fail("Not enough memory.", "Use a smaller --batch-size, fewer samples, or --device cpu.")


def _is_shortage(error: Exception) -> bool:
    """Whether memory ran out; torch is not imported to find out."""
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from ..latent.chunks import is_out_of_memory

    return is_out_of_memory(error)


def _fail(message: str, hint: str) -> None:
    if speaks():
        _explain(ArdtoolError(message, hint))
    raise typer.Exit(1) from None


def _explain(error: ArdtoolError) -> None:
    _say("error", error.message, "red")
    if error.hint:
        _say("hint", error.hint, "cyan")


def _say(label: str, message: str, colour: str) -> None:
    """`label: message` on stderr, in one line."""
    from .rendering import labelled, stderr_console

    stderr_console().print(labelled(label, message, colour), soft_wrap=True)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _panel, _commands in (
    (MAIN, (train, relevance, prune, sample, traverse, evaluate)),
    (MODELS, (encode, decode)),
    ("Many runs", (compare,)),
    ("Foreign files", (inspect, convert)),
    (MORE, (data, plugins)),
):
    for _command in _commands:
        app.command(cls=_Command, rich_help_panel=_panel)(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ardtool {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", metavar="", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """How many latent dimensions your autoencoder really uses, which ones, and the smaller model.

    Start with: ardtool train
    """


def run() -> None:
    """The console entry point."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that knows no β gets a question mark instead of a traceback
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    warnings.simplefilter("ignore", FutureWarning)  # of libraries, about their own future
    keep_freed_memory()
    with one_voice(_explain):
        app(prog_name="ardtool")
