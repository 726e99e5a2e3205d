"""Other methods on the command line: the list of them, their options, and their own counts."""

from __future__ import annotations

from ardtool.objectives import OBJECTIVES


def test_every_method_is_listed_with_its_options(ardtool):
    listed = ardtool.json("train", "--list-methods")
    assert listed["schema"] == "ardtool.methods/1" and list(listed["methods"]) == list(OBJECTIVES)
    assert listed["methods"]["rae"]["options"]["rae.variant"]["default"] == "l2"
    text = ardtool("train", "--list-methods").stdout
    assert all(name in text for name in OBJECTIVES) and "--set geco.tau=" in text


def test_a_method_may_be_called_by_its_other_name(ardtool):
    assert ardtool.json("train", "--list-methods")["methods"]["wae-gan"]["aliases"] == ["aae"]
    assert "wae-gan (aae)  deterministic" in ardtool("train", "--list-methods").stdout
    ardtool("train", "--data", "x.npy", "--latent", 3, "--method", "aae", "--epochs", 1, "--out", "runs/aae")
    assert ardtool.json("relevance", "runs/aae")["method"] == "wae-gan"


def test_a_method_with_gates_says_how_many_are_open(ardtool):
    common = ("train", "--data", "x.npy", "--latent", 3, "--method", "geco-l0-arm-vae", "--epochs", 2, "--set", "geco.tau=0.001")
    assert "the method's own count: 3 open gates; its target was missed: the squared error is" in ardtool(*common).stdout
    own = ardtool.json(*common)["own_count"]
    assert own["axes"] == [0, 1, 2] and own["constraint_met"] is False


def test_methods_of_all_kinds_are_scored_sampled_and_pruned(ardtool):
    for method in ("rae", "wae-gan", "beta-tcvae"):
        run = f"runs/{method}"
        ardtool("train", "--data", "x.npy", "--latent", 3, "--method", method, "--epochs", 2, "--out", run)
        assert ardtool.json("relevance", run)["method"] == method
        ardtool("sample", run, "--out", f"{method}.npz")
        assert len(ardtool.json("prune", run, "--keep", 2, "--out", f"{method}.safetensors")["kept"]) == 2
        ardtool("sample", f"{method}.safetensors", "--out", f"{method}-small.npz")


def test_an_option_of_another_method_is_one_line(ardtool):
    said = ardtool("train", "--data", "x.npy", "--method", "vae", "--set", "rae.variant=gp", code=1).stderr
    assert "rae.variant is an option of rae, not of vae." in said
