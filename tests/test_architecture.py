"""Imports point one way, nothing inside imports the package root, and what must be light is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ardtool"
# a module may import from its own layer and from lower ones
LAYERS = [
    {"errors", "version"},
    {"autoencoder"},
    {"latent"},
    {"networks"},
    {"objectives", "metrics"},
    {"data", "storage", "registry", "report", "export"},
    {"training"},
    {"commands", "testing"},
    {"cli"},
]
# within a layer only these may see each other
ALLOWED_WITHIN = {("storage", "data"), ("storage", "registry"), ("report", "storage"), ("export", "storage")}
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_rooms(path: Path) -> list[tuple[str, int]]:
    """Rooms of ardtool that a file imports, with line numbers; "" is the package root."""
    depth = len(path.relative_to(PACKAGE).parts)
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level < depth:
                continue  # inside its own folder
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            found += [(name if name in LEVEL else "", node.lineno) for name in names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ardtool":
            found.append(("", node.lineno))
        elif isinstance(node, ast.Import):
            found += [("", node.lineno) for alias in node.names if alias.name.split(".")[0] == "ardtool"]
    return found


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in ("__main__.py",) and path != PACKAGE / "__init__.py"]


def test_every_module_has_a_layer():
    assert {room_of(path) for path in sources()} <= set(LEVEL)


def test_imports_point_one_way():
    wrong = []
    for path in sources():
        room = room_of(path)
        for other, line in imported_rooms(path):
            if other == room or (other and LEVEL[other] < LEVEL[room]) or (room, other) in ALLOWED_WITHIN:
                continue
            wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {other or 'the package root'}")
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_a_wrong_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "latent").mkdir()
    bad = tmp_path / "latent" / "bad.py"
    bad.write_text("from ..commands.train import train\nfrom .. import relevance\nimport ardtool\nfrom .good import x\n")
    assert imported_rooms(bad) == [("commands", 1), ("", 2), ("", 3)]


@pytest.mark.parametrize("folder", ["latent", "metrics"])
def test_the_mathematics_touches_no_files_and_prints_nothing(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "open"), f"{path}:{node.lineno}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pathlib", "os", "shutil", "sys"} & {name.split(".")[0] for name in names}, f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "statement", ["import ardtool", "import ardtool.registry", "import ardtool.training.config", "import ardtool.data.catalogue"]
)
def test_these_import_nothing_heavy(statement):
    program = f"{statement}\nimport sys\nprint([m for m in ('torch', 'torchvision', 'numpy', 'sklearn', 'matplotlib') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_public_names_exist():
    import ardtool

    assert set(ardtool._HOMES) | {"__version__"} == set(ardtool.__all__)
    for name in ardtool.__all__:
        assert getattr(ardtool, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ardtool.nonsense  # noqa: B018
