"""Methods and their options: typed, ranged, and refused where they belong to another method."""

import pytest
import torch

from ardtool.data.dataset import DataSet
from ardtool.errors import ConfigError
from ardtool.objectives import OBJECTIVES
from ardtool.training.config import config_from
from ardtool.training.options import METHOD_SETTINGS
from ardtool.training.resolve import prepare_run, resolved

DATA = DataSet("vectors", torch.randn(200, 6, generator=torch.Generator().manual_seed(0)))


def resolve(**settings):
    return resolved(config_from({"latent": 3, **settings}, "test"), DATA)


def test_options_are_resolved_with_their_types():
    found = resolve(method="rae", **{"rae.variant": "gp", "rae.beta": "0.5"})
    assert found.options["rae.variant"] == "gp" and found.options["rae.beta"] == 0.5 and found.options["rae.decoder_weight"] is None
    assert resolve(method="rae", rae={"variant": "gp", "beta": 0.5}).options == found.options


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
        ({"method": "vae", "x.y": 1}, "vae has no option 'x.y'.", "It has no options of its own."),
        ({"method": "rae", "rae.variant": "huge"}, "the settings: rae.variant is 'huge'; expected l2 or gp or sn or plain.", None),
        ({"method": "wae-mmd", "wae.weight": -1}, "wae.weight is -1; expected at least 0.", "The default is 10.0."),
        ({"method": "vae", "beta": 2.0}, "--beta is no setting of vae.", None),
        ({"method": "ae", "prior": "student-t"}, "--prior is no setting of ae.", None),
        ({"method": "magic"}, "Unknown method 'magic'.", None),
    ],
)
def test_wrong_options_are_one_line(settings, sentence, hint):
    with pytest.raises(ConfigError) as caught:
        resolve(**settings)
    assert caught.value.message == sentence
    assert hint is None or caught.value.hint == hint


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
