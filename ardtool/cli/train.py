"""`ardtool train`."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ArdtoolError
from ..training.config import CHECKPOINT_MINUTES
from ..training.processes import ProcessEnded, active
from .options import SHARED, Device, Force, Json, Quiet, setting
from .processes import speaks, when_ended
from .settings import assignments, merged, unfinished_run

if TYPE_CHECKING:
    from .rendering import Output

__all__ = ["train"]

DATA, MODEL, TRAINING, RUN = "Data", "Model and objective", "Training", "Run"


def train(
    data: Annotated[str | None, setting("data", panel=DATA)] = None,
    image_size: Annotated[str | None, setting("image_size", panel=DATA)] = None,
    val_fraction: Annotated[float | None, setting("val_fraction", panel=DATA)] = None,
    samples: Annotated[int | None, setting("samples", panel=DATA)] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of named data sets. \\[default: $ARDTOOL_DATA, else ./data]", rich_help_panel=DATA),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            metavar="",
            help="Decode images anew and keep none; ARDTOOL_CACHE=off does so for all commands.",
            rich_help_panel=DATA,
        ),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", metavar="", help="Leave out images that cannot be decoded.", rich_help_panel=DATA),
    ] = False,
    latent: Annotated[int | None, setting("latent", panel=MODEL)] = None,
    method: Annotated[str | None, setting("method", panel=MODEL)] = None,
    list_methods: Annotated[
        bool,
        typer.Option("--list-methods", metavar="", help="List all methods and their options.", rich_help_panel=MODEL),
    ] = False,
    arch: Annotated[str | None, setting("arch", panel=MODEL)] = None,
    beta: Annotated[str | None, setting("beta", panel=MODEL)] = None,
    target_mse: Annotated[float | None, setting("target_mse", panel=MODEL)] = None,
    beta_warmup: Annotated[float | None, setting("beta_warmup", panel=MODEL)] = None,
    likelihood: Annotated[str | None, setting("likelihood", panel=MODEL)] = None,
    prior: Annotated[str | None, setting("prior", panel=MODEL)] = None,
    alpha_samples: Annotated[int | None, setting("alpha_samples", panel=MODEL)] = None,
    alpha_every: Annotated[int | None, setting("alpha_every", panel=MODEL)] = None,
    threshold: Annotated[float | None, setting("threshold", panel=MODEL)] = None,
    epochs: Annotated[int | None, setting("epochs", panel=TRAINING)] = None,
    batch_size: Annotated[int | None, setting("batch_size", panel=TRAINING)] = None,
    lr: Annotated[float | None, setting("lr", panel=TRAINING)] = None,
    precision: Annotated[str | None, setting("precision", panel=TRAINING)] = None,
    compile: Annotated[str | None, setting("compile", panel=TRAINING)] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="RUN.yaml", help="Read settings from this file; options and --set go first.", rich_help_panel=RUN)
    ] = None,
    assigned: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other setting, such as rae.variant=gp; repeatable.",
            rich_help_panel=RUN,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Run folder; one under runs/ named after data, method, latent and seed where left out.", rich_help_panel=RUN
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Continue the unfinished run under runs/, or that of the settings given.",
            rich_help_panel=RUN,
        ),
    ] = False,
    allow_changed_data: Annotated[
        bool,
        typer.Option(
            "--allow-changed-data",
            metavar="",
            help="With --resume: go on although the data have changed since the run began.",
            rich_help_panel=RUN,
        ),
    ] = False,
    checkpoint_minutes: Annotated[
        float,
        typer.Option(
            metavar="MINUTES",
            help=f"Save this often within an epoch, too, not only after it. \\[default: {CHECKPOINT_MINUTES:g}]",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = CHECKPOINT_MINUTES,
    profile: Annotated[
        bool,
        typer.Option("--profile", metavar="", help="Say where the time went and how much of the hardware was used.", rich_help_panel=RUN),
    ] = False,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            metavar="",
            help="Give the same result each time on a GPU too, by slower algorithms; a CPU always does.",
            rich_help_panel=RUN,
        ),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", metavar="", help="Log every epoch for TensorBoard, in the run folder.", rich_help_panel=RUN),
    ] = False,
    device: Device = "auto",
    seed: Annotated[int | None, setting("seed")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    force: Force = False,
    plugin: Annotated[
        str | None,
        typer.Option(metavar="PLUGIN", help="Changes nothing here: training reads no foreign models.", rich_help_panel=SHARED),
    ] = None,
) -> None:
    """Train an autoencoder whose prior switches off the axes it does not need, and report which are relevant."""
    given = {
        "data": data,
        "image_size": image_size,
        "val_fraction": val_fraction,
        "samples": samples,
        "latent": latent,
        "method": method,
        "arch": arch,
        "beta": beta,
        "target_mse": target_mse,
        "beta_warmup": beta_warmup,
        "likelihood": likelihood,
        "prior": prior,
        "alpha_samples": alpha_samples,
        "alpha_every": alpha_every,
        "threshold": threshold,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "precision": precision,
        "compile": compile,
        "seed": seed,
    }
    from .rendering import Output

    output = Output(as_json, quiet)
    if list_methods:
        from .methods import show_methods

        return show_methods(output)
    if out == Path():
        raise typer.BadParameter("an empty path", param_hint="'--out'")
    extra = assignments(assigned or [])
    if resume and config is None and not extra and all(value is None for value in given.values()):
        unfinished = unfinished_run(out)
        if unfinished is None:
            where = "runs/ holds" if out is None else f"{out} holds"
            output.note(f"{where} no unfinished run; going by the default settings")
        else:
            given, out = unfinished.settings, unfinished.folder
    settings = merged(given, extra, config)
    reading = {"data_root": data_root, "cache": not no_cache, "skip_bad": skip_bad, "allow_changed_data": allow_changed_data}
    running = {"checkpoint_minutes": checkpoint_minutes, "profile": profile, "deterministic": deterministic, "tensorboard": tensorboard}
    _train(output, settings, out=out, device=device, resume=resume, force=force, **reading, **running)


def _train(output: Output, settings: Any, *, device: str, **options: Any) -> None:
    with output.status("preparing"):
        from ..commands.train import train as fit
        from ..commands.train_report import write_report
    from .progress import TrainingProgress
    from .trained import show, show_next, show_profile

    with TrainingProgress(output, again_options(device, options)) as progress:
        when_ended(progress.lost)
        try:
            result = fit(settings, device=device, observer=progress, **options)
        except KeyboardInterrupt as interrupt:
            progress.stop()
            if speaks():
                output.note(progress.interrupted())
            raise typer.Exit(128 + getattr(interrupt, "number", signal.SIGINT)) from None
        except ProcessEnded as error:
            raise progress.lost(error) from error
        except ArdtoolError as error:
            raise progress.failed(error) from error
    if not active().is_first:
        return
    problem = None
    if not result.repeated or not (Path(result.run) / "scree.png").exists():
        try:
            with output.status("drawing pictures"):
                write_report(result, device)
        except ArdtoolError as error:  # the model is safe; a picture that cannot be drawn must not hide that
            problem = error.message
    output.result(result, lambda: show(output, result))
    if result.profile is not None:
        show_profile(output, result.profile)
    if problem is not None:
        output.warn(f"not all pictures were drawn: {problem}")
    show_next(output, result)


def again_options(device: str, options: Mapping[str, Any]) -> list[str]:
    """What the command that continues a run needs beside its folder: the settings are read from there."""
    again = [] if options["data_root"] is None else ["--data-root", str(options["data_root"])]
    if options["skip_bad"]:
        again.append("--skip-bad")
    again += [f"--{name}" for name in ("deterministic", "tensorboard") if options[name]]
    if device != "auto":
        again += ["--device", device]
    if options["checkpoint_minutes"] != CHECKPOINT_MINUTES:
        again += ["--checkpoint-minutes", f"{options['checkpoint_minutes']:g}"]
    return again
