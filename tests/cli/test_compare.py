"""`ardtool compare` on a terminal and in a pipe."""

from __future__ import annotations

import pytest


@pytest.fixture
def runs(edited_run, tmp_path, monkeypatch, ardtool):
    """Two seeds of one method and one of another under runs/, in the current folder."""
    monkeypatch.chdir(tmp_path)
    edited_run("runs/a0", metrics=True)
    edited_run("runs/a1", seed=1, metrics={"metrics": {"mse": {"value": 0.125}}})
    edited_run("runs/b0", method="vae", own_count={"notion": "open gates", "axes": [0], "constraint_met": False, "reason": "why"})
    return ardtool


def test_a_table_has_one_row_a_group(runs):
    lines = runs("compare").stdout.splitlines()
    assert lines[0] == "3 runs in 2 groups · mean ± sample standard deviation over seeds"
    assert lines[2].split()[:4] == ["method", "data", "L", "runs"] and set(lines[3]) == {"─"}
    assert lines[4].split()[:4] == ["ard-vae", "x", "4", "2"] and " ± " in lines[4]
    assert lines[5].split()[:4] == ["vae", "x", "4", "1"] and " ± " not in lines[5] and "1 (1 missed)" in lines[5]
    assert "own count: open gates (vae)" in lines
    assert "mse, mse_active, elbo, reconstruction, kl: `ardtool evaluate` on x (training data)" in lines


def test_columns_stand_below_each_other_and_go_on_below_where_they_do_not_fit(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = runs("compare", "--losses").stdout
    blocks = [block.splitlines() for block in text.split("\n\n")[1:-1]]
    assert len(blocks) > 2
    for heading, rule, *rows in blocks:
        assert heading.startswith("method    data   L") and len(rule) <= 60
        assert [row.split()[0] for row in rows] == ["ard-vae", "vae"] and max(map(len, (heading, *rows))) <= len(rule)
    monkeypatch.setenv("COLUMNS", "400")
    assert len(runs("compare", "--losses").stdout.split("\n\n")) == 3


def test_json_is_alone_on_stdout(runs, tmp_path):
    (tmp_path / "runs" / "c0" / "resume").mkdir(parents=True)
    (tmp_path / "runs" / "c0" / "resume" / "state.safetensors").touch()
    record = runs.json("compare", "runs")
    assert record["schema"] == "ardtool.compare/1" and [group["n"] for group in record["groups"]] == [2, 1]
    assert record["left_out"] == [{"path": "runs/c0", "reason": "unfinished"}]
    assert "left out: runs/c0 (unfinished)" in runs("compare", "runs", "--json").stderr
    assert runs("compare", "--quiet").stderr == ""


@pytest.mark.parametrize(("option", "first"), [("--markdown", "| method | data | L |"), ("--latex", "% needs \\usepackage{booktabs}")])
def test_a_table_to_paste_is_alone_on_stdout(runs, option, first):
    result = runs("compare", option)
    assert result.stdout.startswith(first) and "evaluate" not in result.stdout
    assert "own count: open gates (vae)" in result.stderr.splitlines()


def test_one_form_at_a_time(runs):
    said = ("--json, --markdown and --latex each say how the result is printed.", "Give one of them.")
    for options in (("--json", "--latex"), ("--markdown", "--latex"), ("--json", "--markdown")):
        assert runs.error("compare", *options) == said


def test_order_by_active_axes(runs, edited_run):
    edited_run("runs/c0", method="wae", relevance={"active_axes": []})
    assert runs.json("compare", "--sort", "active")["groups"][0]["method"] == "wae"
    assert runs("compare", "--sort", "size", code=2).stdout == ""


def test_a_path_without_a_run_is_one_line(runs, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    hint = "Give run folders, model files, or a folder of run folders."
    assert runs.error("compare", "runs", "notes.txt") == ("notes.txt is no run; it is a text file.", hint)
    assert runs.error("compare", "runs/a7")[0] == "runs/a7 does not exist."


@pytest.mark.parametrize("kind", ["bars", "shares"])
def test_figures(ardtool, seed_runs, tmp_path, kind):
    out = tmp_path / f"{kind}.png"
    result = ardtool("compare", seed_runs / "s0", seed_runs / "s1", "--plot", out, "--figure", kind)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {out}" in result.stderr
    assert "2 runs in 1 group" in result.stdout
