"""Objects that executables carry."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.bpf_objects import compiled

from kprobesim.bpf.embedded import read_objects
from kprobesim.errors import BpfObjectError

pytestmark = pytest.mark.compiler

EXECUTABLE = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0" + bytes(300)


def test_an_object_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "object.bpf.o"
    path.write_bytes(compiled("core.c"))
    (obj,) = read_objects(path)
    assert obj.path == str(path)


def test_each_object_that_an_executable_carries_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    one, other = compiled("core.c"), compiled("sections.c")
    path.write_bytes(EXECUTABLE + one + b"rest" * 7 + other + one + EXECUTABLE)
    found = read_objects(path)
    assert [obj.programs[0].name for obj in found] == ["fields", "first"]
    assert found[1].path == f"{path} (object at {len(EXECUTABLE + one) + 28:#x})"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (EXECUTABLE, "for x86-64, not for eBPF"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (EXECUTABLE + compiled("core.c")[:-100], "for x86-64, not for eBPF"),
    ],
)
def test_a_file_without_an_object_says_what_it_is(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "tool"
    path.write_bytes(data)
    with pytest.raises(BpfObjectError, match=says):
        read_objects(path)
