"""Where the cache is."""

from __future__ import annotations

import sys
from pathlib import Path

from ardtool.data import cache_file


def test_where_the_cache_is(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    for name, value, expected in (
        ("ARDTOOL_CACHE", "off", None),
        ("ARDTOOL_CACHE", "OFF", None),
        ("ARDTOOL_CACHE", "~/c", tmp_path / "c"),
        ("ARDTOOL_CACHE", "", tmp_path / ".cache" / "ardtool" / "data"),
        ("XDG_CACHE_HOME", "/x", Path("/x/ardtool/data")),
    ):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv(name, value)
        assert cache_file.cache_folder() == expected
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_file.cache_folder() == tmp_path / "Library" / "Caches" / "ardtool" / "data"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_file.cache_folder() == Path("/local/ardtool/data")
