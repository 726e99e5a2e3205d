"""Plugins: found, limited, broken ones isolated, clashes named."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from ardtool import registry
from ardtool.errors import PluginError
from ardtool.registry import PluginSpec, find_plugin, list_plugins


@dataclass
class Entry:
    name: str
    value: object
    distribution: str = "dist"

    @property
    def dist(self):
        return SimpleNamespace(name=self.distribution, version="1.0")

    def load(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def spec(name: str, suffix: str) -> PluginSpec:
    return PluginSpec(name, "a test", lambda path: path.suffix == suffix, lambda path, device: None)


@pytest.fixture
def install(monkeypatch):
    monkeypatch.delenv("ARDTOOL_PLUGINS", raising=False)
    return lambda *entries: monkeypatch.setattr(registry, "entry_points", lambda group: list(entries))


def test_the_one_that_matches_is_found(install):
    install(Entry("a", spec("a", ".a")), Entry("b", spec("b", ".b")))
    assert find_plugin(Path("x.b")).name == "b"
    assert find_plugin(Path("x.zzz"), "a").name == "a"


def test_a_broken_plugin_is_listed_and_hurts_nobody(install):
    install(Entry("a", ImportError("no module")), Entry("b", spec("b", ".b")), Entry("c", "a string"))
    problems = {listing.name: listing.problem for listing in list_plugins()}
    assert problems == {"a": "ImportError: no module", "b": "", "c": "its entry point is a str, not a PluginSpec"}
    assert find_plugin(Path("x.b")).name == "b"
    with pytest.raises(PluginError, match="The plugin 'a' is broken: ImportError: no module"):
        find_plugin(Path("x.a"), "a")


def test_a_plugin_that_fails_to_judge_does_not_read(install):
    def explode(path):
        raise RuntimeError

    install(Entry("a", PluginSpec("a", "", explode, lambda path, device: None)), Entry("b", spec("b", ".b")))
    assert find_plugin(Path("x.b")).name == "b"


def test_a_clash_names_both(install):
    install(Entry("a", spec("a", ".a"), "one"), Entry("a", spec("a", ".a"), "two"))
    with pytest.raises(PluginError, match="Two plugins are called 'a': one from one, one from two"):
        list_plugins()


def test_several_matches_ask_for_a_choice(install):
    install(Entry("a", spec("a", ".x")), Entry("b", spec("b", ".x")))
    with pytest.raises(PluginError, match=r"Several plugins read m\.x: a, b\.") as caught:
        find_plugin(Path("m.x"))
    assert caught.value.hint == "Choose one with --plugin NAME."


def test_none_matches_and_unknown_names(install):
    install(Entry("a", spec("a", ".a")))
    with pytest.raises(PluginError, match=r"No plugin reads m\.x\.") as caught:
        find_plugin(Path("m.x"))
    assert "`ardtool inspect m.x` says what it is" in caught.value.hint
    assert "ardtool-example for PCA models in .npz files" in caught.value.hint
    with pytest.raises(PluginError, match="There is no plugin 'zz'"):
        find_plugin(Path("m.x"), "zz")


@pytest.mark.parametrize(("limit", "names"), [("", []), ("b", ["b"]), ("a, b", ["a", "b"])])
def test_the_environment_limits(install, monkeypatch, limit, names):
    install(Entry("a", spec("a", ".a")), Entry("b", spec("b", ".b")))
    monkeypatch.setenv("ARDTOOL_PLUGINS", limit)
    assert [listing.name for listing in list_plugins()] == names


def test_a_single_file(tmp_path):
    good, empty, broken = tmp_path / "good.py", tmp_path / "empty.py", tmp_path / "broken.py"
    good.write_text("from ardtool import PluginSpec\nplugin = PluginSpec('mine', '', lambda path: True, lambda path, device: None)\n")
    empty.write_text("x = 1\n")
    broken.write_text("1 / 0\n")
    assert find_plugin(Path("m"), str(good)).name == "mine"
    for path, sentence in (
        (empty, f"The plugin file {empty} defines no `plugin`."),
        (broken, f"The plugin file {broken} fails: ZeroDivisionError: division by zero."),
        (tmp_path / "no.py", f"The plugin file {tmp_path / 'no.py'} does not exist."),
    ):
        with pytest.raises(PluginError) as caught:
            find_plugin(Path("m"), str(path))
        assert caught.value.message == sentence
