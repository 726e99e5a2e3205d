"""What the docs show was printed some time: each page says when and by what, or is run, or names the test that holds it.

The law, for every page that no test runs and no program writes: a section that shows an output has

- the mark `Recorded 2026-11-22` (a capital or not) with the date on which its figures were put in, and a command of ardtool, Python or
  pytest that gave them; or
- "held by" and the name of a test file, as in "held by `tests/cli/test_torchrun.py`".

A section goes from its heading to the next. What encloses it may say it in its place, but not the page's title: that would be a mark for
all that is ever added. What counts as an output:

- a block between fences without a language (or `text`, `console`), unless each of its lines is a command;
- a line that begins with `error: ` in an indented block (these hold commands and formulas otherwise);
- a picture;
- a table with a cell that is a number or a list of them: `4`, `**7**`, `0.0099 ± 5e-05`, `1.57 (1.42-1.86)`, `2.3 %`, `15, 15`.

Numbers in sentences, and in cells among words, are not seen; nor whether a date is the right one, or a command the one that it was.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUN = {DOCS / "first-steps.md", DOCS / "api.md", *(DOCS / "how-to").glob("*.md")}  # by test_how_to.py
WRITTEN = {DOCS / "commands.md", DOCS / "methods.md"}  # by docs/generate.py
PAGES = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "plugins").rglob("*.md")} - RUN - WRITTEN)
FIRST_DAY = datetime.date(2026, 11, 1)  # there was nothing to record before

NUMBER = r"[−+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
MEASURED = re.compile(rf"\**<?{NUMBER}\**(?:, {NUMBER})*(?: ± {NUMBER})?(?: ?%)?(?: \({NUMBER}[-–]{NUMBER}\))?")
COMMAND = re.compile(r"(?:\$ )?(?:ardtool|pip install|python|pytest|torchrun)\b")
MADE_BY = re.compile(r"\b(?:ardtool [a-z]+|python tests/|pytest )")
PICTURE = re.compile(r"!\[[^\]]*\]\(")
MARK = re.compile(r"\b[Rr]ecorded\s+(\d+-\d+-\d+)")
DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
TEST = re.compile(r"\b[Hh]eld\s+by\s+`((?:plugins/[\w-]+/)?tests/[\w/]*test_\w+\.py)`")


@dataclass
class Section:
    """A heading of some level and what stands below it up to the next one."""

    title: str
    level: int
    enclosing: list[Section] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)  # lines of indented blocks, and of fenced ones that are commands
    outputs: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(each for part in [self, *self.enclosing] for each in part.prose)

    @property
    def commands(self) -> str:
        spans = re.findall(r"`([^`]+)`", self.text)
        return "\n".join([*spans, *(each for part in [self, *self.enclosing] for each in part.typed)])


def sections(page: str) -> list[Section]:
    found = [Section("", 1)]
    lines = iter(page.splitlines())
    for line in lines:
        fence = re.match(r" *```(.*)", line)
        heading = re.match(r"(#+) (.+)", line)
        if fence:
            block = []
            for inside in lines:
                if re.match(r" *```\s*$", inside):
                    break
                block.append(inside.strip())
            add_block(found[-1], fence[1].strip(), [each for each in block if each])
        elif heading:
            level = len(heading[1])
            enclosing = [*found[-1].enclosing, found[-1]]
            found.append(Section(heading[2], level, [each for each in enclosing if 1 < each.level < level]))
        elif line.startswith("    "):
            found[-1].typed.append(line.strip())
            if line.strip().startswith("error: "):
                found[-1].outputs.append(line.strip())
        else:
            found[-1].prose.append(line)
            if PICTURE.search(line) or is_measured(line):
                found[-1].outputs.append(line)
    return found


def is_measured(line: str) -> bool:
    """Whether a line is a row of a table in which a number stands."""
    return line.startswith("|") and any(MEASURED.fullmatch(cell.strip()) for cell in line.split("|"))


def add_block(section: Section, language: str, lines: list[str]) -> None:
    if language in ("", "text", "console"):
        if all(map(COMMAND.match, lines)):
            section.typed += lines
        else:
            section.outputs.append(lines[0])
            section.typed += [line for line in lines if line.startswith("$ ")]


def missing(page: str) -> list[str]:
    """What a page lacks, one sentence for each section that lacks something."""
    found = []
    for section in sections(page):
        own = "\n".join(section.prose)
        dates = {*MARK.findall(own), *DATE.findall(own)} if MARK.search(own) else set()
        for date in sorted(dates):
            if not is_possible(date):
                found.append(f"{section.title!r}: {date} is no date, or one before {FIRST_DAY}")
        for test in TEST.findall(own):
            if not (ROOT / test).is_file():
                found.append(f"{section.title!r}: {test} does not exist")
        if section.outputs and not TEST.search(section.text):
            if not MARK.search(section.text):
                found.append(f"{section.title!r} shows {section.outputs[0][:60]!r} and does not say when it was recorded")
            elif not MADE_BY.search(section.commands):
                found.append(f"{section.title!r} shows {section.outputs[0][:60]!r} and no command that made it")
    return found


def is_possible(date: str) -> bool:
    try:
        return datetime.date.fromisoformat(date) >= FIRST_DAY
    except ValueError:
        return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_is_marked(page):
    assert missing(page.read_text()) == []


def test_outputs_are_seen_where_there_are_many():
    """Were none found in these pages, the law above would hold of anything."""
    seen = {page: sum(bool(each.outputs) for each in sections((DOCS / page).read_text())) for page in ("results.md", "performance.md")}
    assert min(seen.values()) >= 9, seen


PRINTED = "```\n4 of 16 latent axes are relevant\n```\n"
TABLE = "| L | active |\n|---|---|\n| {} | all |\n"


@pytest.mark.parametrize(
    "output",
    [
        PRINTED,
        "```console\n$ ardtool relevance\n4 of 16\n```\n",
        "![A grid](images/grid.png)\n",
        "    error: It stopped.\n",
        *map(
            TABLE.format, ["4", "**7**", "0.0099 ± 5e-05", "1.57 (1.42-1.86)", "71 (58-94)", "2.3 %", "<0.1 %", "2,523", "−0.3", "15, 15"]
        ),
    ],
)
def test_an_output_needs_a_mark(output):
    page = f"# Page\n\n## Run\n\n    ardtool relevance\n\n{{}}{output}"
    assert missing(page.format("Recorded 2026-11-22.\n\n")) == []
    assert missing(page.format("It took long, recorded\n2026-11-22:\n\n")) == []
    assert len(missing(page.format(""))) == 1
    assert len(missing(page.format("Recorded by an earlier version, in 2026-11-22 days.\n\n"))) == 1
    assert len(missing(page.format("```\nardtool train # Recorded 2026-11-22\n```\n"))) == 1


@pytest.mark.parametrize(
    "shown",
    [
        "```\nardtool train   # anything\npip install .\n```\n",
        "```python\nprint(4)  # ![4](4.png)\n```\n",
        "    s = w σ̂²\n",
        TABLE.format("two of 4"),
        TABLE.format("1. A newer number is refused"),
        "Numbers in sentences: 0.0099 ± 0.0001.\n",
    ],
)
def test_other_things_need_none(shown):
    assert missing(f"# Page\n\n## Run\n\n{shown}") == []


@pytest.mark.parametrize("date", ["2026-10-31", "2025-12-01", "2026-11-31", "2026-13-01", "2026-1-1"])
def test_a_date_that_cannot_be_is_none(date):
    assert "is no date" in missing(f"## Run\n\n    ardtool relevance\n\nRecorded {date}.\n\n{PRINTED}")[0]
    if len(date) == 10:
        assert "is no date" in missing(f"## Run\n\nRecorded 2026-11-22, the picture {date}.\n")[0]


@pytest.mark.parametrize("command", ["    python tests/benchmarks/speed.py", "`ardtool relevance`", "```\npytest -k 200\n```"])
def test_a_mark_needs_a_command(command):
    assert missing(f"## Run\n\n{command}\n\nRecorded 2026-11-22.\n\n{PRINTED}") == []
    assert "no command" in missing(f"## Run\n\nRecorded 2026-11-22.\n\n{PRINTED}")[0]


def test_a_test_that_exists_is_as_good():
    page = f"## Stop\n\nIt is held by `{{}}`:\n\n{PRINTED}"
    assert missing(page.format("tests/docs/test_recorded.py")) == []
    assert missing(page.format("plugins/ardtool-torch/tests/test_commands.py")) == []
    assert missing(page.format("tests/docs/test_of_nothing.py")) == ["'Stop': tests/docs/test_of_nothing.py does not exist"]
    assert len(missing(page.format("tests/benchmarks/speed.py"))) == 1  # measures and holds nothing
    assert len(missing(page.replace("held by", "near").format("tests/docs/test_recorded.py"))) == 1


def test_a_section_speaks_for_those_within_it_and_for_no_other():
    marked = f"    ardtool relevance\n\nRecorded 2026-11-22.\n\n{PRINTED}\n"
    assert missing(f"# Page\n\n## One\n\n{marked}\n### Within\n\n{PRINTED}\n#### Deeper\n\n{PRINTED}") == []
    assert [each[:6] for each in missing(f"# Page\n\n## One\n\n{marked}\n### Within\n\n## Next\n\n{PRINTED}")] == ["'Next'"]
    assert [each[:6] for each in missing(f"# Page\n\n## Next\n\n{PRINTED}\n### One\n\n{marked}")] == ["'Next'"]
    assert [each[:6] for each in missing(f"# Page\n\n{marked}\n## Next\n\n{PRINTED}")] == ["'Next'"]


def test_a_heading_within_a_block_is_none():
    assert [each.title for each in sections("## Run\n\n```\n# no heading\n```\n\n## End\n")] == ["", "Run", "End"]
