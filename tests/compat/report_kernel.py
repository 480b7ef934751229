"""The kernel of tests/data/reports, with the types that its functions have."""

from __future__ import annotations

from pathlib import Path

from makers.btf_maker import TYPEDEF, BtfMaker
from makers.tiny_kernel import tiny_vmlinux

REPORTS = Path(__file__).parents[1] / "data" / "reports"
PREFIX = {"x86_64": "__x64_sys_", "arm64": "__arm64_sys_"}
_FLAGS = {
    "x86_64": ("-fpatchable-function-entry=5", '-DUNPROBEABLE="ljmpl *(%rax)"'),
    "arm64": ("-fpatchable-function-entry=2", '-DUNPROBEABLE="msr daifset, #2"'),
}


def report_kernel(arch: str, *, typed: bool = True) -> bytes:
    """Its ELF file, with debug information; BTF only if it is ``typed``."""
    types = ", ".join(map(str, _types()))
    embedded = f'__asm__(".section .BTF, \\"a\\"\\n.byte {types}\\n.text\\n");\n'
    flags = ("-g", f"-DPREFIX={PREFIX[arch]}", *_FLAGS[arch])
    code = (REPORTS / "kernel.c").read_text() + (embedded if typed else "")
    return tiny_vmlinux(arch, code, (REPORTS / "twin.c").read_text(), flags=flags)


def _types() -> bytes:
    """``inode`` without ``i_atime``, what functions take, and what BPF attaches to by types."""
    maker = BtfMaker()
    number = maker.integer("long", 8, 1)
    inode = maker.pointer(maker.struct("inode", 16, [("i_ino", number, 0)]))
    plain_file = maker.struct("file", 8, [("f_inode", inode, 0)])
    maker.struct("backing_file", 16, [("file", plain_file, 0), ("count", number, 64)])
    file = maker.pointer(plain_file)
    maker.function("vfs_read", number, [("file", file), ("count", number)])
    maker.function("security_file_open", number, [("file", file)])
    maker.function("security_file_release", 0, [("file", file)])
    owner = maker.pointer(maker.struct("mnt_idmap", 8, [("count", number, 0)]))
    dentry = maker.pointer(maker.struct("dentry", 8, [("d_inode", inode, 0)]))
    maker.function("security_inode_setattr", number, [("idmap", owner), ("dentry", dentry)])
    for _ in range(2):
        maker.function("str_to_user", number, [("count", number)])
    maker.function("bpf_lsm_file_open", number, [("file", file)])
    maker.function("bpf_iter_task", number, [("task", number)])
    probe = maker.prototype(0, [("__data", number), ("preempt", number), ("prev", inode)])
    maker.add(TYPEDEF, "btf_trace_sched_switch", maker.pointer(probe))
    header = maker.struct("trace_entry", 8, [("type", number, 0)])
    fields = [("ent", header, 0), ("__data_loc_comm", maker.integer("u32", 4), 64)]
    small = maker.integer("pid_t", 4, 1)
    fields += [("pid", small, 96), ("prio", small, 128), ("__data", maker.array(small, 0), 160)]
    maker.struct("trace_event_raw_sched_process_free", 20, fields)
    maker.enum("bpf_map_type", [("BPF_MAP_TYPE_HASH", 1), ("BPF_MAP_TYPE_RINGBUF", 27)])
    maker.enum("bpf_attach_type", [("BPF_TRACE_FENTRY", 24)])
    maker.struct("bpf_struct_ops_tcp_congestion_ops", 8, [("common", number, 0)])
    maker.struct("tcp_ulp_ops", 8, [("init", number, 0)])
    return maker.data()
