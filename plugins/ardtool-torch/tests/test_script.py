"""Models in a Python file: every form of the contract, and a line for every way to break it."""

from __future__ import annotations

import pytest
import torch
from ardtool_torch import build, load, plugin, risk
from safetensors.torch import save_file

from ardtool.errors import ModelFileError
from ardtool.registry import find_plugin
from ardtool.testing import check_autoencoder

PAIR = "return self.encoding(x).chunk(2, dim=1)"
SUBMODULES = """
from torch import nn

class Net(nn.Module):
    input_shape = (6,)
    latent_shape = (4,)

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 6))

build = Net
"""
MAPS = """
from torch import nn

INPUT_SHAPE = 1, 8, 8
LATENT_SHAPE = 2, 4, 4

def build():
    model = nn.Module()
    model.encoder = nn.Conv2d(1, 2, 4, 2, 1)
    model.decoder = nn.Sequential(nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.Tanh(), nn.Conv2d(3, 1, 3, 1, 1))
    return model
"""
CONTEXT = """
import torch
from torch import nn
from ardtool import Posterior

INPUT_SHAPE, LATENT_SHAPE = 6, 4

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoding, self.decoding = nn.Linear(6, 4), nn.Linear(5, 6)

    def encode(self, x):
        return Posterior(self.encoding(x), context=x.sum(dim=1, keepdim=True))

    def decode(self, z, size):
        return torch.tanh(self.decoding(torch.cat([z, size], dim=1)))

build = Net
"""


def refused(path, message: str) -> str:
    with pytest.raises(ModelFileError) as caught:
        load(path, "cpu")
    assert caught.value.message == message
    return caught.value.hint


@pytest.mark.parametrize("form", ["pair", "means", "submodules", "maps", "context"])
def test_every_form_keeps_the_contract(write, net_source, form):
    source = {
        "pair": net_source,
        "means": net_source.replace(PAIR, "return self.encoding(x)[:, :4]"),
        "submodules": SUBMODULES,
        "maps": MAPS,
        "context": CONTEXT,
    }[form]
    path = write(source)
    assert find_plugin(path).name == "torch" and risk(path) is None
    model = load(path, "cpu")
    check_autoencoder(model, torch.randn(5, *model.input_shape, generator=torch.Generator().manual_seed(1)), spec=plugin)
    has_variance = model.encode(torch.zeros(2, *model.input_shape)).log_variance is not None
    assert has_variance == (form == "pair")


@pytest.mark.parametrize(
    ("weights", "wrap"),
    [
        ("net.pt", lambda state: state),
        ("net.pth", lambda state: {"state_dict": state, "epoch": 3}),
        ("net.pt", lambda state: {f"module.{name}": value for name, value in state.items()}),
    ],
)
def test_weights_are_those_of_the_file(write, weights, wrap):
    path = write(weights=weights, wrap=wrap)
    saved = torch.load(path.with_name(weights), weights_only=True)
    first = {name.removeprefix("module."): value for name, value in saved.get("state_dict", saved).items()}
    model = load(path, "cpu")
    for name, value in model.model.state_dict().items():
        assert torch.equal(value, first[name])


def test_safetensors_and_named_weights(write, net_source):
    path = write(net_source + 'WEIGHTS = "best.safetensors"\n')
    state = torch.load(path.with_suffix(".pt"), weights_only=True)
    save_file({name: value + 1 for name, value in state.items()}, path.with_name("best.safetensors"))
    model = load(path, "cpu")
    assert torch.equal(model.model.first.bias, state["first.bias"] + 1)


def test_weights_are_never_left_random(write, net_source):
    path = write(weights=None)
    hint = refused(path, f"{path} has no weights beside it: looked for net.safetensors, net.pt, net.pth.")
    assert hint == 'Name the file in the script: WEIGHTS = "best.pt"; or WEIGHTS = None if build() loads them itself.'
    write(net_source + 'WEIGHTS = "lost.pt"\n', weights=None)
    refused(path, f"{path} names WEIGHTS = 'lost.pt'; there is no such file in {path.parent}.")
    write(net_source + "WEIGHTS = None\n", weights=None)
    assert load(path, "cpu").latent_shape == (4,)


def test_two_files_of_weights_ask_for_a_name(write):
    path = write()
    write(weights="net.pth")
    refused(path, f"{path} has several files of weights beside it: net.pt, net.pth.")


def test_weights_that_do_not_fit_are_named_one_by_one(write):
    def wrap(state):
        state["first.weight"] = state["first.weight"][:, :2]
        state["third.bias"] = state.pop("second.bias")
        return state

    path = write(wrap=wrap)
    refused(
        path,
        f"{path.with_suffix('.pt')} does not fit the module of net.py: 'second.bias' is missing; 'third.bias' is not part of the module; "
        "'first.weight' is 12×2, the module has 12×4.",
    )


def test_malicious_weights_are_not_executed(write, canary):
    path = write(wrap=lambda state: {"state_dict": state, "settings": canary})
    with pytest.raises(ModelFileError, match=r"net\.pt would run code .*posix\.mkdir"):
        load(path, "cpu")
    assert not canary.path.exists()
    torch.load(path.with_suffix(".pt"), weights_only=False)
    assert canary.path.exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("return Net()", "return Nett()"), "{path} fails in line 24: NameError: name 'Nett' is not defined."),
        (("def build():", "def build()"), "{path} fails in line 23: SyntaxError: expected ':'."),
        (("INPUT_SHAPE = 6", "raise SystemExit"), "{path} fails in line 5: SystemExit."),
        (("def build", "def make"), "{path} defines no function `build()` that returns a torch module."),
        (("return Net()", "return 3"), "{path}: build() returns a int; expected a torch module."),
        (("def decode", "def generate"), "{path}: the module of build() has neither `decode` nor `decoder`."),
        (("INPUT_SHAPE = 6", ""), "{path}: INPUT_SHAPE is None; expected a number or a tuple of numbers, as (1, 28, 28)."),
        (
            ("LATENT_SHAPE = 4", "LATENT_SHAPE = 4, -1"),
            "{path}: LATENT_SHAPE is (4, -1); expected a number or a tuple of numbers, as (1, 28, 28).",
        ),
        (("x).chunk(2, dim=1)", "x)"), "{path}: encode gives 2×8 for 2 samples; LATENT_SHAPE says 2×4."),
        ((PAIR, "return {'mean': x}"), "{path}: encode gives a dict; expected means, a pair (means, log variances) or a Posterior."),
        (("(self.first(z)))", "(self.first(z)))[:, :5]"), "{path}: decode gives 2×5 for 2 samples; INPUT_SHAPE says 2×6."),
        (
            ("return self.encoding", "assert x.shape[1] == 5, 'five only'; return self.encoding"),
            "{path}: the module fails on samples of 6 or codes of 4: AssertionError: five only.",
        ),
    ],
)
def test_a_broken_script_is_one_line(write, net_source, change, sentence):
    path = write()
    path.write_text(net_source.replace(*change))
    refused(path, sentence.format(path=path))


def test_a_pruned_model_names_its_script_and_rebuilds_from_it_unchanged(write, net_source):
    path = write()
    model = load(path, "cpu")
    assert risk(model.build_record) == f"runs {path}"
    path.with_suffix(".pt").unlink()  # a pruned model has its own weights
    assert build(model.build_record).latent_shape == (4,)
    path.write_text(net_source + "# more\n")
    with pytest.raises(ModelFileError) as caught:
        build(model.build_record)
    assert caught.value.message == f"{path} has changed since the model was pruned."
    path.unlink()
    with pytest.raises(ModelFileError) as caught:
        build(model.build_record)
    assert caught.value.message == f"{path} does not exist; a pruned model is rebuilt from it."


def test_imports_from_its_folder_do_not_mix_with_those_of_another(tmp_path, write, net_source):
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "layers.py").write_text(f"VALUE = {value}\n")
        source = "from layers import VALUE\n" + net_source + "WEIGHTS = None\n"
        (tmp_path / name / "net.py").write_text(source.replace("return Net()", "net = Net(); net.value = VALUE; return net"))
    assert load(tmp_path / "a" / "net.py", "cpu").model.value == 1
    assert load(tmp_path / "b" / "net.py", "cpu").model.value == 2


def test_what_a_script_prints_stays_out_of_the_result(write, net_source, capsys):
    load(write(net_source + "print('hello')\n"), "cpu")
    out, err = capsys.readouterr()
    assert out.count("hello") == 1 and "hello" in err  # one from the fixture, which runs it too
