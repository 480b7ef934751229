"""What a search through a kernel's code finds is kept beside its image."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.package_maker import make_deb

from kprobesim.functions.code import Code
from kprobesim.functions.functions import Functions
from kprobesim.functions.index import CodeIndex
from kprobesim.kernel.offline import open_rules

pytestmark = pytest.mark.compiler


def test_code_is_searched_once(
    functions: Functions, vmlinux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, deb = tmp_path / "cache", tmp_path / "linux-image.deb"
    monkeypatch.setenv("KPROBESIM_CACHE", str(folder))
    deb.write_bytes(make_deb({"./boot/vmlinux": vmlinux.read_bytes()}))
    searched: list[Code] = []
    search = Code._search

    def counted(code: Code) -> CodeIndex:
        searched.append(code)
        return search(code)

    monkeypatch.setattr(Code, "_search", counted)
    expected = list(functions.facts_of_all())
    searched.clear()

    def ask() -> int:
        before, rules = len(searched), open_rules(deb)
        assert list(Functions(rules.image, rules.read).facts_of_all()) == expected
        return len(searched) - before

    assert [ask(), ask()] == [1, 0]
    (entry,) = folder.glob("*.calls.kpi")
    entry.write_bytes(entry.read_bytes()[:-1])
    assert [ask(), ask()] == [1, 0]
    monkeypatch.setattr("kprobesim.functions.index.code_stamp", lambda *rooms: "a later version")
    assert [ask(), ask()] == [1, 0]


def test_other_symbols_are_another_kernel(
    vmlinux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, deb = tmp_path / "cache", tmp_path / "linux-image.deb"
    monkeypatch.setenv("KPROBESIM_CACHE", str(folder))
    deb.write_bytes(make_deb({"./boot/vmlinux": vmlinux.read_bytes()}))
    rules = open_rules(deb, symbols=vmlinux)
    assert Functions(rules.image, rules.read).facts("recursive").symbols
    assert not list(folder.glob("*.calls.kpi"))
