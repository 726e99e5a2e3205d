"""What the pages tell their readers to type works, and prints what they show."""

import doctest
import importlib.util
from pathlib import Path

import console_page
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "first-steps.md", *sorted((DOCS / "how-to").glob("*.md"))]
# what a page needs beside ardtool and the packages that its tests need
NEEDED = {"checkpoints": "ardtool_torch", "diffusers": "diffusers"}
SLOW = {"first-steps", "plain-pytorch", "several-gpus", "diffusers", "choose-beta", "downstream", "dimension"}


def page(path: Path):
    return pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])


@pytest.mark.parametrize("path", [page(path) for path in PAGES])
def test_the_commands_of_a_page_print_what_it_shows(path, tmp_path):
    needed = NEEDED.get(path.stem)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    console_page.check(path.read_text(), tmp_path)


def test_the_example_of_the_python_api():
    assert doctest.testfile(str(DOCS / "api.md"), module_relative=False) == doctest.TestResults(failed=0, attempted=6)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("3 of 4 axes", "3 of 4 axes"),
        ("epoch 1/2  loss 70.4 · 149 samples/s", "epoch 1/2  loss 142 · 1,151 samples/s"),
        ("1   2   ████▋   75.4   0.062 ± 0.012   relevant", "1   2   █▌   5.1   1e-3 ± 2.5e-05   relevant"),
        ("in 2 min 11 s", "in 7.9 s"),
        ("kept … dropped …", "kept 1, 2 dropped 3"),
        ("wrote x.onnx   1,263 bytes", "wrote x.onnx   900 bytes"),
    ],
)
def test_lines_that_count_as_printed(shown, printed):
    assert console_page.same(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("3 of 4 axes", "2 of 4 axes"), ("epoch 1/2  loss 70.4", "epoch 2/2  loss 70.4"), ("wrote x", "wrote y"), ("kept …", "dropped 1")],
)
def test_lines_that_do_not(shown, printed):
    assert not console_page.same(shown, printed)


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (["a", "b"], None),
        (["a", "…", "c"], None),
        (["…", "c"], None),
        (["a", "c"], "c"),
        (["b"], "b"),
        (["…", "c", "b"], "b"),
    ],
)
def test_lines_are_looked_for_in_their_order(shown, missing):
    assert console_page.first_missing(shown, ["a", "b", "c", "d"]) == missing


def test_a_page_whose_output_is_wrong_is_noticed(tmp_path):
    text = '```python title="a.py"\nprint(7)\n```\n\n```console\n$ python a.py\n8\n```\n'
    with pytest.raises(AssertionError, match=r"did not print\n8"):
        console_page.check(text, tmp_path)
    with pytest.raises(AssertionError, match="ended with 1"):
        console_page.check("```console\n$ cat nothing\n```\n", tmp_path)
