"""The options are a promise: this table changes together with docs and changelog."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from ardtool.cli.main import app
from ardtool.version import __version__

SHARED = "--device --seed --json --quiet --force --plugin --help"
FOREIGN = f"--granularity --trust {SHARED}"
CODES = "--data --latents --assume-prior --data-root --skip-bad"
OPTIONS = {
    "train": "--data --image-size --val-fraction --samples --data-root --no-cache --skip-bad --latent --method --list-methods --arch "
    "--beta --target-mse --beta-warmup --likelihood --prior --alpha-samples --alpha-every --threshold --epochs --batch-size --lr "
    "--precision --compile --config --set --out --resume --allow-changed-data --checkpoint-minutes --profile --deterministic "
    f"--tensorboard {SHARED}",
    "relevance": f"--samples --threshold --convention --estimator --basis --tolerance --max-memory --out --plot "
    f"--figure --report {CODES} {FOREIGN}",
    "prune": "--out --threshold --keep --axes --max-output-change --max-mse-increase --basis --export --plot " + f"{CODES} {FOREIGN}",
    "sample": f"--out -n --sampler --all-axes {CODES} {FOREIGN}",
    "traverse": f"--out --axes --range --steps --gif --reference {CODES} {FOREIGN}",
    "evaluate": "--data --metrics --list-metrics --samples --out --iwae-draws --features --inception-weights --generated --sampler "
    f"--all-axes --no-cache --factors --eval-seeds --data-root --skip-bad {FOREIGN}",
    "encode": f"--data --out --axes --split --data-root --skip-bad {FOREIGN}",
    "decode": f"--out --trust {SHARED}",
    "compare": "--sort --losses --plot --figure --markdown --latex --json --quiet --help",
    "inspect": "--json --quiet --help",
    "convert": "--out --json --quiet --force --help",
    "data": "--data-root --json --quiet --help",
    "plugins": "--json --quiet --help",
}
HEAVY = ("torch", "torchvision", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "safetensors", "yaml")


def options_of(name: str) -> set[str]:
    group = typer.main.get_command(app)
    command = group.commands[name]  # pyright: ignore[reportAttributeAccessIssue]
    parameters = command.get_params(typer.Context(command))
    return {flag for each in parameters if each.param_type_name == "option" for flag in (*each.opts, *each.secondary_opts)}


def test_the_commands_are_frozen():
    assert set(typer.main.get_command(app).commands) == set(OPTIONS)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_are_frozen(name):
    assert options_of(name) == set(OPTIONS[name].split())


@pytest.mark.parametrize("name", OPTIONS)
def test_every_command_has_help(name):
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


def test_version():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"ardtool {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["train", "--latent", "abc"], ["data"]])
def test_nothing_heavy_is_imported_before_a_command_runs(arguments):
    code = (
        "import sys\nfrom ardtool.cli.main import run\n"
        f"sys.argv = ['ardtool', *{arguments!r}]\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("heavy: []\n")


def test_defaults_are_those_of_the_library():
    from ardtool.commands.encode import encode
    from ardtool.commands.prune import prune
    from ardtool.commands.relevance import relevance
    from ardtool.commands.sample import sample
    from ardtool.commands.traverse import traverse

    for function in (encode, prune, relevance, sample, traverse):
        library = inspect.signature(function).parameters
        callback = next(each.callback for each in app.registered_commands if each.callback.__name__ == function.__name__)
        for name, parameter in inspect.signature(callback).parameters.items():
            if name in library and library[name].default is not inspect.Parameter.empty and name != "out":
                assert parameter.default == library[name].default, (function.__name__, name)


def test_choices_are_those_of_the_library():
    import typing

    from ardtool.cli.relevance import relevance
    from ardtool.cli.sample import sample
    from ardtool.latent.jacobian import Convention
    from ardtool.latent.sampling import Sampler

    assert typing.get_type_hints(relevance)["convention"] == Convention
    assert typing.get_type_hints(sample)["sampler"] == Sampler | None


def test_the_help_of_train_shows_the_defaults_of_the_settings():
    shown = " ".join(CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).stdout.split())
    for text in ("[default: sprites]", "[default: 16]", "[default: by data and method]", "[default: 0.99]", "One of gaussian, student-t."):
        assert text in shown
