"""``kprobesim diff``: what it says of a kernel and of the same one with other symbols."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kprobesim.cli.main import main


@pytest.fixture
def newer(sample: Path, tmp_path: Path) -> Path:
    """The sample guest, in which functions have other names."""
    data = sample.read_bytes()
    for old, new in (
        (b"crc32_le", b"crc32_be"),
        (b"do_sys_openat2", b"do_sys_openat9"),
        (b"add_one", b"add_two"),  # too short to be known again
        (b"gcd", b"fib"),
    ):
        assert data.count(b"\0" + old + b"\0") == 1
        data = data.replace(b"\0" + old + b"\0", b"\0" + new + b"\0")
    path = tmp_path / "newer.elf"
    path.write_bytes(data)
    return path


def test_a_kernel_and_itself(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(sample), str(sample)]) == 0
    out = capsys.readouterr().out
    assert "carries no types: these are not compared" in out
    assert out.endswith("  nothing that probes can see is different\n")


def test_functions(sample: Path, newer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(sample), str(newer), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    changes = {(each["change"], each["name"], each.get("new")) for each in found["differences"]}
    assert {
        ("renamed", "crc32_le", "crc32_be"),
        ("renamed", "do_sys_openat2", "do_sys_openat9"),
        ("gone", "add_one", None),
        ("misses-calls", "fib", "2 of that name"),
        ("new", "add_two", None),
    } <= changes
    assert found["counts"]["renamed"] == 2
    assert main(["diff", str(sample), str(newer), "--limit", "1"]) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "functions renamed (2)\n  crc32_le -> crc32_be (by its code)\n" in out
    assert "  ... and 1 more; --limit 0 shows all\n" in out


def test_only_what_a_source_needs(
    sample: Path, newer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names"
    names.write_text("crc32_le\nint_sqrt\nno_such_function\n")
    assert main(["diff", str(sample), str(newer), "--only", str(names)]) == 1
    out = capsys.readouterr().out
    assert "      1  functions renamed\n" in out
    assert "has no function no_such_function" in out
    assert "unchanged (1)\n  int_sqrt\n" in out
    assert "add_one" not in out
    names.write_text("int_sqrt\n")
    assert main(["diff", str(sample), str(newer), "--only", str(names)]) == 0


def test_wrong_use(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = "arm64" if "x86_64" in sample.name else "x86_64"
    assert main(["diff", str(sample), str(sample.with_name(f"guest-{other}.elf"))]) == 2
    assert " is for " in capsys.readouterr().err
    assert main(["diff", str(sample), str(sample), "--limit", "many"]) == 2
    assert main(["diff", str(sample), str(tmp_path / "nothing")]) == 1
