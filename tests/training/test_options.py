"""Methods and their options: typed, ranged, and refused where they belong to another method."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ardtool.data.dataset import DataSet
from ardtool.errors import ConfigError
from ardtool.objectives import OBJECTIVES
from ardtool.objectives.objective import Objective, option
from ardtool.training.config import TrainConfig, config_from
from ardtool.training.options import METHOD_SETTINGS, options_of
from ardtool.training.resolve import prepare_run, resolved

DATA = DataSet("vectors", torch.randn(200, 6, generator=torch.Generator().manual_seed(0)))


def resolve(**settings):
    return resolved(config_from({"latent": 3, **settings}, "test"), DATA)


def test_options_are_resolved_with_their_types():
    found = resolve(method="rae", **{"rae.variant": "gp", "rae.beta": "0.5"})
    assert found.options["rae.variant"] == "gp" and found.options["rae.beta"] == 0.5 and found.options["rae.decoder_weight"] is None
    assert resolve(method="rae", rae={"variant": "gp", "beta": 0.5}).options == found.options


def test_a_path_names_data_and_an_array_does_not():
    assert config_from({"data": Path("codes.npy")}, "test").data == "codes.npy"
    with pytest.raises(
        ConfigError, match=r"^test: data is an array of shape \(200, 6\); expected the name of a data set or a path."
    ) as caught:
        config_from({"data": torch.zeros(200, 6)}, "test")
    assert caught.value.hint.startswith('Save it first, numpy.save("data.npy", array)')


def test_a_long_value_is_shortened():
    with pytest.raises(ConfigError, match=r"^test: latent is \[0, 1, 2, 3, 4, 5, ...\]; expected a whole number.") as caught:
        config_from({"latent": list(range(1000))}, "test")
    assert caught.value.hint == "ardtool train --help lists all settings."


@pytest.mark.parametrize(
    "settings",
    [
        {"sparse-ae.weight": "0.5"},
        {"sparse_ae.weight": 0.5},
        {"sparse-ae": {"weight": 0.5}},
        {"sparse_ae": {"weight": 0.5}},
    ],
)
def test_a_prefix_with_a_dash_gets_its_options(monkeypatch, settings):
    monkeypatch.setitem(OBJECTIVES, "sparse-ae", SparseAe)
    found = resolve(method="sparse-ae", **settings)
    assert options_of("sparse-ae", found.options) == SparseOptions(weight=0.5, power=2)
    assert resolved(config_from(found.to_dict(), "test"), DATA) == found
    assert resolved(TrainConfig(latent=3, method="sparse-ae", options={"sparse-ae.weight": 0.5}), DATA) == found


@dataclass(frozen=True)
class SparseOptions:
    weight: float = option(0.01, "Weight of the absolute codes.", low=0)
    power: int = option(2, "Power of the codes.")


class SparseAe(Objective):
    summary_line, paper, prefix, Options = "sparse codes", "none", "sparse-ae", SparseOptions


@pytest.mark.parametrize(("arch", "lr"), [(None, 2e-3), ("dense", 2e-3), ("maskaae", 5e-4), ("geco", 5e-4), ("paper-mnist", 5e-4)])
def test_networks_from_papers_learn_at_the_papers_rate(arch, lr):
    assert resolve(arch=arch).lr == lr
    assert resolve(arch=arch, lr=0.1).lr == 0.1


@pytest.mark.parametrize("method", OBJECTIVES)
def test_resolved_settings_resolve_to_themselves(method):
    found = resolve(method=method)
    assert resolved(config_from(found.to_dict(), "test"), DATA) == found


@pytest.mark.parametrize(
    ("settings", "sentence", "hint"),
    [
        (
            {"method": "vae", "rae.variant": "gp"},
            "rae.variant is an option of rae, not of vae.",
            "Leave it out, or choose another --method.",
        ),
        ({"method": "rae", "rae.varaint": "gp"}, "rae has no option 'rae.varaint'.", "Did you mean 'rae.variant'?"),
        ({"method": "wae-gan", "wae-gan.weight": 2}, "wae-gan has no option 'wae_gan.weight'.", "Did you mean 'gan.weight'?"),
        (
            {"method": "geco-l0-arm-vae", "geco-l0-arm-vae": {"tau": 2}},
            "geco-l0-arm-vae has no option 'geco_l0_arm_vae.tau'.",
            "Did you mean 'geco.tau'?",
        ),
        ({"method": "vae", "x.y": 1}, "vae has no option 'x.y'.", "It has no options of its own."),
        ({"method": "rae", "rae.variant": "huge"}, "the settings: rae.variant is 'huge'; expected l2 or gp or sn or plain.", None),
        ({"method": "wae-mmd", "wae.weight": -1}, "wae.weight is -1; expected at least 0.", "The default is 10.0."),
        ({"method": "vae", "beta": 2.0}, "--beta is no setting of vae.", None),
        (
            {"method": "beta-vae", "beta": "auto"},
            "--beta is auto, and beta-vae does not calibrate it; expected a number.",
            "Or use --method ard-vae.",
        ),
        ({"method": "ae", "prior": "student-t"}, "--prior is no setting of ae.", None),
        ({"method": "vae", "beta_warmup": 0.2}, "--beta-warmup is no setting of vae.", "Leave it out; methods that have it: ard-vae."),
        ({"beta_warmup": 0.6}, "--beta-warmup is 0.6; expected 0 to 0.5.", "The default is 0.0."),
        (
            {"beta_warmup": 0.2, "beta": "auto"},
            "--beta-warmup needs a beta to rise to, and --beta auto moves it.",
            "Give one of them.",
        ),
        (
            {"beta_warmup": 0.2, "target_mse": 0.1},
            "--beta-warmup needs a beta to rise to, and --target-mse moves it.",
            "Give one of them.",
        ),
        ({"method": "magic"}, "Unknown method 'magic'.", None),
    ],
)
def test_wrong_options_are_one_line(settings, sentence, hint):
    with pytest.raises(ConfigError) as caught:
        resolve(**settings)
    assert caught.value.message == sentence
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize(
    "options", [{"rae.variant": "gp", "rae.beta": 0.5}, {"rae": {"variant": "gp", "beta": 0.5}}], ids=["dotted", "grouped"]
)
def test_options_may_be_given_as_the_configuration_has_them(options):
    assert resolve(method="rae", options=options) == resolve(method="rae", rae={"variant": "gp", "beta": 0.5})
    assert resolve(method="rae", options=None) == resolve(method="rae")


@pytest.mark.parametrize("options", ["rae.variant=gp", ["rae.variant=gp"]])
def test_options_that_are_no_mapping_are_one_line(options):
    sentence = (
        f'test: options is {options!r}; expected options of the method by name, such as options={{"rae.variant": "gp"}}.',
        'Or group them: rae={"variant": "gp"}; `ardtool train --list-methods` lists all.',
    )
    with pytest.raises(ConfigError) as caught:
        resolve(method="rae", options=options)
    assert (caught.value.message, caught.value.hint) == sentence
    with pytest.raises(ConfigError, match="the settings: options is"):
        TrainConfig(options=options).validated()


def test_an_option_without_the_name_of_its_method_is_one_line():
    with pytest.raises(ConfigError) as caught:
        resolve(method="rae", options={"variant": "gp"})
    assert caught.value.message == "rae has no option 'variant'."
    assert caught.value.hint == "Did you mean 'rae.variant'?"
    for wrong in ({"variant": "gp"}, {"rae": "gp"}):
        with pytest.raises(ConfigError) as caught:
            resolve(method="rae", **wrong)
        assert caught.value.message == f"test: unknown setting '{next(iter(wrong))}'."
        assert caught.value.hint.endswith('; options of a method are given by --set rae.variant=gp, in Python by rae={"variant": "gp"}.')


def test_the_hint_lists_the_methods_that_have_a_setting():
    with pytest.raises(ConfigError) as caught:
        resolve(method="vae", alpha_samples=100)
    assert caught.value.hint == "Leave it out; methods that have it: ard-vae, sigma-ard-vae."


def test_every_setting_that_a_method_takes_is_known_and_every_method_says_what_it_is():
    for objective in OBJECTIVES.values():
        assert set(objective.takes) <= set(METHOD_SETTINGS)
        assert objective.summary_line and objective.paper


@pytest.mark.parametrize("method", OBJECTIVES)
def test_every_method_repeats_itself_bit_for_bit_after_a_break(method):
    def run():
        return prepare_run(resolve(method=method, epochs=4, batch_size=20, threshold=0.9), DATA, torch.device("cpu"))

    class Stop(Exception):
        pass

    def stop(record) -> None:
        if record.epoch == 2:
            raise Stop

    whole, first, second = run(), run(), run()
    whole.fit(lambda record: None)
    with pytest.raises(Stop):
        first.fit(stop)
    second.restore(first.state())
    second.fit(lambda record: None)
    for each in (whole, second):
        each.finish()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert whole.history[-1].validation == second.history[-1].validation
    assert {"loss", "mse"} <= set(whole.history[-1].training)


@pytest.mark.parametrize(("name", "beta"), [("mnist", 0.5), ("celeba", 1.0), ("cifar10", 0.05), ("dsprites", 5.0), ("shapes3d", 5.0)])
def test_the_ard_vae_has_the_betas_of_supp_table_6(name, beta):
    assert OBJECTIVES["ard-vae"].values_for(name) == {"beta": beta}
