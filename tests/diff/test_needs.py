"""What a source depends on: functions by patterns, tracepoints, and the members it goes through."""

from __future__ import annotations

from pathlib import Path

from makers.btf_maker import SIGNED, BtfMaker

from kprobesim.diff.needs import needs_of
from kprobesim.diff.prototypes import Prototypes
from kprobesim.sources.read import read_source
from kprobesim.types.btf import Btf

SCRIPT = """\
kprobe:vfs_* { @ = count(); }
kprobe:do_unlinkat { printf("%s", ((struct dentry *)arg1)->d_inode->i_ino); }
tracepoint:sched:sched_switch { @++; }
kfunc:vfs_open { @ = args.path->d_inode->i_mode; }
"""


def types() -> Btf:
    m = BtfMaker()
    i32 = m.integer("int", 4, SIGNED)
    inode = m.struct("inode", 8, [("i_ino", i32, 0), ("i_mode", i32, 32)])
    dentry = m.struct("dentry", 8, [("d_inode", m.pointer(inode), 0)])
    m.function("vfs_open", i32, [("path", m.pointer(dentry))])
    return Btf(m.data())


def test_a_script(tmp_path: Path) -> None:
    script = tmp_path / "tool.bt"
    script.write_text(SCRIPT)
    btf = types()
    functions = ["vfs_read", "vfs_open", "do_unlinkat", "other"]
    needs = needs_of([read_source(script)], functions, "__x64_sys_", btf, Prototypes(btf))
    assert needs.functions == {"vfs_read", "vfs_open", "do_unlinkat"}
    assert needs.events == {"sched_switch"}
    assert needs.types == {"struct dentry": {"d_inode"}, "struct inode": {"i_ino", "i_mode"}}
    assert needs.notes == []


def test_without_types_there_are_names(tmp_path: Path) -> None:
    script = tmp_path / "tool.bt"
    script.write_text(SCRIPT + "not a probe\n")
    needs = needs_of([read_source(script)], ["vfs_read"], "__x64_sys_", None, None)
    assert needs.types == {}
    assert "vfs_read" in needs.functions
    assert needs.notes  # each says the file and what is wrong in it
