"""``kprobesim types``: what it prints, and what it says of names and files that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from makers.btf_maker import BtfMaker

from kprobesim.cli.main import main

SHAPES = str(Path(__file__).parents[1] / "data/types/shapes.btf")


def test_structs_and_functions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["types", SHAPES, "struct packed", "take", "u8"]) == 0
    out = capsys.readouterr().out
    assert "        u64 second;                                     /*     1     8 */\n" in out
    assert "} __attribute__((packed));\n\nint take(struct nested *first, " in out
    assert out.endswith("\n\ntypedef unsigned char u8;\n")
    assert main(["types", SHAPES, "bits", "--no-offsets"]) == 0
    assert "\n        u64 d: 33;\n" in capsys.readouterr().out


def test_json_has_one_type_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["types", SHAPES, "take", "enum colour", "--json"]) == 0
    take, colour = map(json.loads, capsys.readouterr().out.splitlines())
    assert take["parameters"][0] == {"name": "first", "type": "struct nested *"}
    assert colour["values"][2] == {"name": "BLUE", "value": -1}


def test_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["types", SHAPES, "holez", "union bits", "struct nowhere", "long x", "u16"]) == 1
    out, err = capsys.readouterr()
    assert out == "struct nowhere;\n\ntypedef unsigned short u16;\n"
    assert [line.split(": ", 1) for line in err.splitlines()] == [
        ["holez", "no type is called holez; do you mean holes?"],
        ["union bits", "there is no such type, but struct bits, variable bits"],
        ["long x", "write a name, or one behind struct, union, enum or typedef"],
    ]


def test_a_kernel_without_types_and_damaged_ones(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["types", str(sample), "vfs_read"]) == 1
    assert "carries no types: it was built without CONFIG_DEBUG_INFO_BTF" in capsys.readouterr().err
    m = BtfMaker()
    m.pointer(7)
    m.function("f", 1, [])
    damaged = tmp_path / "some.btf"
    damaged.write_bytes(m.data())
    assert main(["types", str(damaged), "f"]) == 1
    assert capsys.readouterr().err == (
        "f: some.btf: its BTF is damaged: type 1 refers to type 7, and there is none of that "
        "number\n"
    )
    damaged.write_bytes(m.data()[:40])
    assert main(["types", str(damaged), "f"]) == 1
    assert "cut short" in capsys.readouterr().err
    assert main(["types", SHAPES, "--module", "ext4", "f"]) == 2
    assert "name the module's .ko file" in capsys.readouterr().err


@pytest.mark.real_kernel
def test_a_real_kernel_and_its_modules(
    real_image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["types", str(real_image), "vfs_read", "struct list_head"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *")
    assert "        struct list_head *prev;                         /*     8     8 */\n" in out
