"""Runs side by side: what is averaged over seeds, what is not, and how the numbers are written."""

from __future__ import annotations

import math
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import ardtool
from ardtool.commands.comparing.numbers import Cell, mean_and_deviation, summarise
from ardtool.commands.comparing.runs import UNFINISHED
from ardtool.errors import ConfigError, ModelFileError


@pytest.mark.parametrize(
    ("mean", "std", "written"),
    [
        (12.8, 0.45, "12.80 ± 0.45"),
        (12.8, 4.5, "12.8 ± 4.5"),
        (1234.5, 45.2, "1,234 ± 45"),
        (123456.0, 4521.0, "123,500 ± 4,500"),
        (100.0, 150.0, "100 ± 150"),
        (0.5, 0.996, "0.5 ± 1.0"),  # rounding adds a digit in front
        (12.3456, 9.96, "12 ± 10"),
        (12.3456, 0.96, "12.35 ± 0.96"),
        (-0.001, 5.0, "0.0 ± 5.0"),  # no minus before a zero
        (-3.14, 0.2, "-3.14 ± 0.20"),
        (0.00019, 0.000021, "(1.90 ± 0.21)e-4"),
        (3e7, 2.3e6, "(3.00 ± 0.23)e7"),
        (0.0, 1e-9, "(0.0 ± 1.0)e-9"),
        (1e308, 1e307, "(1.00 ± 0.10)e308"),
        (4.0, 0.0, "4 ± 0"),
        (0.012345, 0.0, "0.0123 ± 0"),
        (0.00019, 0.0, "(1.90 ± 0)e-4"),
        (0.0, 0.0, "0 ± 0"),
        (4.0, None, "4"),  # a single run
        (0.012345, None, "0.0123"),
        (0.00019, None, "1.90e-4"),
        (1234567.0, None, "1.23e6"),
        (5e-324, None, "5.00e-324"),
        (7.25, math.nan, "7.25"),
        (math.nan, 1.0, "–"),
        (math.inf, None, "–"),
        (None, None, "–"),
    ],
)
def test_the_deviation_has_two_digits_and_the_mean_as_many_decimals(mean, std, written):
    assert str(mean_and_deviation(mean, std)) == written


def test_a_remark_stands_behind_the_number():
    assert str(mean_and_deviation(2.0, 1.0, "2 of 3")) == "2.0 ± 1.0 (2 of 3)"
    assert str(Cell()) == ""


def test_the_deviation_is_that_of_a_sample_and_numbers_that_are_none_do_not_count():
    whole = summarise({3: 1.0, 1: 2.0, 2: 6.0}, 3)
    assert (whole.mean, whole.std, whole.n) == (3.0, math.sqrt(7), 3) and list(whole.values) == [1, 2, 3]
    part = summarise({0: 4.0, 1: math.nan, 2: None}, 4)
    assert (part.mean, part.std, part.n, part.of) == (4.0, None, 1, 4) and part.values == {0: 4.0, 1: None, 2: None}
    assert summarise({0: 0.1, 1: 0.1, 2: 0.1}, 3).std == 0


def test_real_runs_are_averaged_over_their_seeds(seed_runs):
    result = ardtool.compare(seed_runs)
    (group,) = result.groups
    runs = [ardtool.load_model(seed_runs / name / "model.safetensors").metadata for name in ("s0", "s1")]
    errors = [run["training"]["validation"]["mse"] for run in runs]
    assert (group.method, group.data, group.latent, group.seeds) == ("ard-vae", "x", 4, [0, 1])
    assert group.active.values == {seed: len(run["relevance"]["active_axes"]) for seed, run in enumerate(runs)}
    assert group.validation_mse.mean == pytest.approx(sum(errors) / 2, rel=1e-12)
    assert group.validation_mse.std == pytest.approx(abs(errors[0] - errors[1]) / math.sqrt(2), rel=1e-9)
    assert set(group.losses) == set(runs[0]["training"]["validation"]) and group.epochs.values == {0: 1, 1: 1}
    measured = {metric.name: metric for metric in group.metrics}
    assert (measured["mse"].axes, measured["mse_active"].axes, measured["mse"].samples) == ("all", "active", 200)
    assert measured["elbo"].summary.n == 2 and result.left_out == []


def test_a_renamed_model_keeps_its_metrics(seed_runs, tmp_path):
    model = tmp_path / "best.safetensors"
    shutil.copy(seed_runs / "s0" / "model.safetensors", model)
    value = ardtool.evaluate(model, data=str(seed_runs / "x.npy"), metrics=["mse"]).metrics["mse"].value
    (group,) = ardtool.compare([model]).groups
    assert group.runs == [str(model)] and group.metrics[0].summary.values == {0: value}


def test_other_settings_are_another_group(edited_run):
    runs = [edited_run(f"a{seed}", seed=seed) for seed in (0, 1)]
    runs += [edited_run(f"b{seed}", seed=seed, settings={"beta": 0.5, "new.option": "gp"}) for seed in (0, 1, 2)]
    result = ardtool.compare(runs)
    assert [(len(group.runs), group.differing) for group in result.groups] == [(3, {"beta": 0.5, "new.option": "gp"}), (2, {"beta": 1.4})]
    (settings,) = [column for column in result.table().columns if column.heading == "settings"]
    assert [str(cell) for cell in settings.cells] == ["beta=0.5, new.option=gp", "beta=1.4, new.option=?"]
    assert result.groups[0].settings["beta"] == 0.5 and "seed" not in result.groups[0].settings


def test_a_steered_run_is_named_by_its_target_and_not_by_the_beta_its_search_starts_at(edited_run):
    runs = [edited_run(f"t{seed}", seed=seed, settings={"target_mse": 0.02}, likelihood={"beta": 0.1 + seed}) for seed in (0, 1)]
    runs += [edited_run(f"a{seed}", seed=seed, settings={"beta": "auto"}, likelihood={"beta": 0.2 + seed}) for seed in (0, 1, 2)]
    assert settings_of(ardtool.compare(runs)) == [("beta=auto, target_mse=none", 3), ("target_mse=0.02", 2)]
    runs += [edited_run("plain"), edited_run("other", settings={"beta": 0.5})]
    kept = [("beta=0.5, target_mse=none", 1), ("beta=1.4, target_mse=none", 1), ("beta=auto, target_mse=none", 3)]
    result = ardtool.compare(runs)
    assert sorted(settings_of(result)) == [*kept, ("target_mse=0.02", 2)]
    assert {group.settings["beta"] for group in result.groups} == {0.5, 1.4, "auto"}  # as the files have it
    runs.append(edited_run("elsewhere", settings={"target_mse": 0.02, "beta": 9.0}))
    steered = [("beta=1.4, target_mse=0.02", 2), ("beta=9, target_mse=0.02", 1)]
    assert sorted(settings_of(ardtool.compare(runs))) == sorted([*kept, *steered])


def settings_of(result):
    """What the table says of each group, and how many runs it has."""
    table = {column.heading: [str(cell) for cell in column.cells] for column in result.table().columns}
    return [(text, int(runs)) for text, runs in zip(table["settings"], table["runs"], strict=True)]


def test_the_path_of_the_data_is_no_setting_but_their_content_is(edited_run):
    moved = [edited_run("a", seed=0), edited_run("b", seed=1, settings={"data": "elsewhere/x.npy"})]
    assert len(ardtool.compare(moved).groups) == 1
    other = edited_run("c", seed=0, data={"sha256": "0123456789abcdef"})
    result = ardtool.compare([*moved, other])
    assert [len(group.runs) for group in result.groups] == [1, 2]
    names = [str(cell) for cell in result.table().columns[1].cells]
    assert names == ["x 01234567", f"x {result.groups[1].data_sha256[:8]}"]


def test_a_run_given_again_counts_once(edited_run, tmp_path):
    run, copy = edited_run("a", seed=3), edited_run("copy", seed=3)
    result = ardtool.compare([run, run / "model.safetensors", tmp_path])
    assert [group.runs for group in result.groups] == [[str(run)]]
    assert {(each.path, each.reason) for each in result.left_out} == {
        (str(run), "given more than once, counted once"),
        (str(copy), f"the same run as {run}, counted once"),
    }


def test_the_file_that_names_the_newest_run_is_that_run(edited_run, tmp_path):
    run = edited_run("a")
    (tmp_path / "latest").write_text("a\n")
    assert ardtool.compare(tmp_path / "latest").groups[0].runs == [str(run)]
    shuffled = ardtool.compare([tmp_path / "latest", run])  # as the shell gives runs/*
    assert shuffled.runs == 1 and shuffled.left_out == []
    (tmp_path / "latest").write_bytes(b"\xff")
    with pytest.raises(ModelFileError, match="latest is no run"):
        ardtool.compare(tmp_path / "latest")


def test_unfinished_runs_are_left_out(edited_run):
    whole, replaced = edited_run("whole"), edited_run("replaced", seed=1)
    (replaced / "resume").mkdir()
    (replaced / "resume" / "state.safetensors").touch()
    result = ardtool.compare([whole, replaced])
    assert result.runs == 1 and [(each.path, each.reason) for each in result.left_out] == [(str(replaced), UNFINISHED)]
    with pytest.raises(ModelFileError, match=r"No finished run was given: .*replaced \(unfinished\)\. Hint: .*--resume --out .*replaced"):
        ardtool.compare(replaced / "model.safetensors")


def column(result, heading):
    return [str(cell) for column in result.table(losses=True).columns if column.heading == heading for cell in column.cells]


def test_a_metric_that_some_runs_lack_says_of_how_many_it_is(edited_run):
    runs = [edited_run(f"r{seed}", seed=seed, metrics=seed < 2 and {"metrics": {"mse": {"value": 0.2 + seed}}}) for seed in range(3)]
    runs.append(edited_run("nothing", seed=0, method="vae"))
    result = ardtool.compare(runs)
    assert column(result, "mse") == ["0.70 ± 0.71 (2 of 3)", ""]
    diverged = edited_run("r3", seed=3, metrics={"metrics": {"mse": {"value": None}}})
    assert column(ardtool.compare([*runs, diverged]), "mse") == ["0.70 ± 0.71 (2 of 4)", ""]


@pytest.mark.parametrize(
    ("change", "headings"),
    [
        ({"metrics": {"mse": {"axes": "kept"}}}, ["mse (all)", "mse (kept)"]),
        ({"metrics": {"mse": {"n": 1000}}}, ["mse, n = 200", "mse, n = 1,000"]),
        ({"metrics": {"mse": {"unit": "pixels"}}}, ["mse, standard deviations squared per output", "mse, pixels"]),
        ({"data": "test", "data_sha256": "f" * 64}, ["mse on x", "mse on test"]),
    ],
)
def test_metrics_that_were_measured_differently_are_not_averaged(edited_run, change, headings):
    result = ardtool.compare([edited_run("a", seed=0, metrics=True), edited_run("b", seed=1, metrics=change)])
    assert len(result.groups) == 1
    for heading in headings:
        assert "(1 of 2)" in column(result, heading)[0]
    assert column(result, "mse") == []


def test_other_training_data_may_be_measured_on_other_data_in_one_column(edited_run):
    other = {"data": "y", "data_sha256": "f" * 64}
    result = ardtool.compare([edited_run("a", metrics=True), edited_run("b", data={"name": "y", "sha256": "f" * 64}, metrics=other)])
    assert len(column(result, "mse")) == 2
    assert result.table().remarks[-1].endswith("`ardtool evaluate` on y (training data)")


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "ardtool.metrics/1"}', '{"schema": "ardtool.metrics/9", "metrics": {}}'])
def test_metrics_that_cannot_be_used_are_named(edited_run, text):
    run = edited_run("a", metrics=True)
    (run / "metrics.json").write_text(text)
    result = ardtool.compare(run)
    assert result.groups[0].metrics == [] and [each.path for each in result.left_out] == [str(run / "metrics.json")]


def test_metrics_of_another_model_are_not_used(edited_run):
    result = ardtool.compare(edited_run("a", metrics={"model_sha256": "another"}))
    assert result.groups[0].metrics == []
    assert result.left_out[0].reason == "measured on another model than the one beside it"


def test_a_methods_own_count_says_how_many_runs_missed_their_constraint(edited_run):
    gates = [{"notion": "open gates", "axes": list(range(seed + 1)), "constraint_met": seed > 0, "reason": ""} for seed in range(3)]
    runs = [edited_run(f"g{seed}", seed=seed, method="geco", own_count=own) for seed, own in enumerate(gates)]
    result = ardtool.compare([*runs, edited_run("plain", method="vae")])
    assert column(result, "own count") == ["2.0 ± 1.0 (1 missed)", ""]
    assert result.table().remarks == ["own count: open gates (geco)", "missed: runs that did not meet their method's own constraint"]
    assert result.to_dict()["groups"][0]["own_count"]["missed"] == 1
    free = edited_run("mask", method="mask", own_count={"notion": "mask", "axes": [1], "constraint_met": None, "reason": ""})
    assert column(ardtool.compare(free), "own count") == ["1"]
    assert "own count" not in ardtool.compare(edited_run("alone")).to_markdown()


def test_a_run_that_diverged_is_not_passed_over_in_silence(edited_run):
    runs = [edited_run(f"r{seed}", seed=seed, training={"validation": {"mse": value}}) for seed, value in enumerate((0.5, math.nan, 0.5))]
    assert column(ardtool.compare(runs), "val MSE") == ["0.500 ± 0 (2 of 3)"]


def test_groups_are_sorted_within_their_data(edited_run):
    runs = [
        edited_run(method, method=method, relevance={"active_axes": [0] * active}, training={"validation": {"mse": mse}})
        for method, active, mse in (("b", 3, 0.1), ("a", 2, 0.3), ("c", 1, 0.2))
    ]
    runs.append(edited_run("first", method="z", data={"name": "a-data", "sha256": "0"}, training={"validation": {"mse": 9.0}}))
    for sort, expected in (("method", "zabc"), ("active", "zcab"), ("mse", "zbca")):
        assert "".join(group.method for group in ardtool.compare(runs, sort=sort).groups) == expected  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="--sort is 'size'; expected method, active, mse"):
        ardtool.compare(runs, sort="size")  # pyright: ignore[reportArgumentType]


def test_notes_say_what_makes_methods_hard_to_compare(edited_run):
    converged = {"training": {"converged": True}}
    assert ardtool.compare([edited_run("a", **converged), edited_run("b", method="vae", **converged)]).notes == []
    other = {"method": "rae", "settings": {"batch_size": 7, "threshold": 0.9}, "training": {"converged": False, "device": "cuda"}}
    assert ardtool.compare([edited_run("c", **converged), edited_run("d", **other)]).notes == [
        "in 1 of 2 runs the number of active axes had not settled when training ended",
        "seconds were measured on different devices: cpu, cuda",
        "runs on x differ between methods or L in batch_size, threshold too",
    ]


def test_the_json_has_every_value_by_seed(edited_run):
    record = ardtool.compare([edited_run(f"r{seed}", seed=seed, training={"seconds": 2.0 * seed}) for seed in (10, 2)]).to_dict()
    assert (record["schema"], record["runs"]) == ("ardtool.compare/1", 2)
    (group,) = record["groups"]
    assert (group["n"], group["seeds"], group["differing"]) == (2, [2, 10], {})
    assert group["seconds_per_epoch"] == {"mean": 12.0, "std": statistics.stdev([4, 20]), "n": 2, "of": 2, "values": {"2": 4.0, "10": 20.0}}
    assert {"kl", "loss", "mse"} <= set(group["losses"])


def test_markdown_and_latex_escape_what_means_something_there(edited_run):
    names = {"method": "a|b_c", "data": {"name": "50 % & _x_ *"}}
    training = {"seconds": 0.5, "validation": {"mse": 2e-4}}
    runs = [
        edited_run("r0", **names, training=training),
        edited_run("r1", seed=1, **names, training={"validation": {"mse": 4e-4}} | {"seconds": 0.5}),
    ]
    result = ardtool.compare(runs)
    assert result.to_markdown().splitlines() == [
        "| method | data | L | runs | active | val MSE | epochs | s/epoch |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        rf"| a\|b_c | 50 % & \_x\_ \* | 4 | 2 | {result.groups[0].active.mean:g} ± 0 | (3.0 ± 1.4)e-4 | 1 | 0.500 ± 0 |",
    ]
    lines = result.to_latex().splitlines()
    assert lines[0].startswith("%") and lines[1:4] == [
        r"\begin{tabular}{llrrrrrr}",
        r"\toprule",
        r"method & data & L & runs & active & val MSE & epochs & s/epoch \\",
    ]
    assert lines[5].startswith(r"a\textbar{}b\_c & 50 \% \& \_x\_ * & $4$ & $2$ & ")
    assert r"& $(3.0 \pm 1.4) \times 10^{-4}$ & $1$ & $0.500 \pm 0$ \\" in lines[5]
    assert lines[6:] == [r"\bottomrule", r"\end{tabular}"]


def test_a_latex_number_has_no_comma_of_its_own(edited_run):
    latex = ardtool.compare([edited_run(f"r{seed}", seed=seed, training={"seconds": 1e4 + 50 * seed}) for seed in (0, 1)]).to_latex()
    assert r"$10{,}025 \pm 35$" in latex


def test_losses_have_columns_where_they_are_asked_for(edited_run):
    result = ardtool.compare(edited_run("a"))
    assert "val kl" in result.to_markdown(losses=True) and "val kl" not in result.to_markdown()
    assert "val mse" not in result.to_latex(losses=True)  # it is there as val MSE


def test_mistakes_are_one_sentence(edited_run, seed_runs, tmp_path, monkeypatch):
    def said(*paths: Path) -> str:
        with pytest.raises(ModelFileError) as caught:
            ardtool.compare(paths)
        assert caught.value.hint
        return caught.value.message.replace(str(tmp_path), "").replace(str(seed_runs), "")

    run = edited_run("a")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    whole = (seed_runs / "s0" / "model.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[:-100])
    ardtool.prune(seed_runs / "s0", keep=2, out=tmp_path / "small.safetensors")
    assert said(run, tmp_path / "nowhere") == "/nowhere does not exist."
    assert said(text) == "/notes.txt is no run; it is a text file."
    assert said(seed_runs / "x.npy") == "/x.npy is no run; it is a NumPy array."
    assert said(cut) == "/cut.safetensors is no run; it is a truncated or damaged safetensors file."
    assert said(tmp_path / "small.safetensors") == "/small.safetensors is no run; it is a pruned model."
    assert said(run / "..", text) == "/notes.txt is no run; it is a text file."
    (tmp_path / "empty").mkdir()
    assert said(tmp_path / "empty") == "/empty holds no run; it is an empty folder."
    assert "its description is incomplete or wrong" in said(edited_run("odd", settings={"seed": "seven"}))
    assert "its description is incomplete or wrong" in said(edited_run("own", own_count={"axes": [1]}))
    assert "file format 99; this ardtool reads up to" in said(edited_run("new", format=99))
    monkeypatch.chdir(tmp_path)
    assert said() == "No run was given and runs/ holds no finished run."


def test_a_damaged_run_among_others_is_left_out_and_named(edited_run, tmp_path):
    edited_run("good")
    (edited_run("bad") / "model.safetensors").write_bytes(b"nothing")
    result = ardtool.compare(tmp_path)
    assert result.runs == 1 and result.left_out[0].path.endswith("bad")
    assert result.left_out[0].reason == "is no run; it is a text file"


def test_nothing_given_means_all_runs_under_runs(edited_run, tmp_path, monkeypatch):
    edited_run("runs/a")
    edited_run("runs/b", seed=1)
    monkeypatch.chdir(tmp_path)
    assert ardtool.compare().groups[0].runs == ["runs/a", "runs/b"] == ardtool.compare("runs").groups[0].runs


def test_it_reads_no_weights_and_imports_no_torch(edited_run, tmp_path):
    for seed in range(3):
        edited_run(f"r{seed}", seed=seed, metrics=True)  # files without any tensor
    code = (
        f"import sys, ardtool\nassert ardtool.compare({str(tmp_path)!r}).runs == 3\n"
        "print([name for name in ('torch', 'numpy', 'safetensors', 'rich', 'typer') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
