"""Calls that use every kind of instruction of the sample guests, for tests of transparency.

``CALLS[arch]`` maps a function to the calls of it: each takes a kernel and returns what it saw.
Results that Python can compute are asserted where the function itself is tested; here a call only
has to do the same with and without probes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from kprobesim import Kernel

__all__ = ["CALLS", "Call"]

Call = Callable[[Kernel], object]

TEXT = b"The quick brown fox jumps over the lazy dog\0"


def _plain(name: str, *arguments: object) -> Call:
    return lambda k: k.call(name, *arguments)


def _buffer(name: str, size: int, *arguments: object) -> Call:
    """The first argument is a buffer whose content counts."""

    def call(k: Kernel) -> object:
        buffer = bytearray(size)
        return k.call(name, buffer, *arguments) and 0, bytes(buffer)

    return call


def _sort(compare: str) -> Call:
    def call(k: Kernel) -> object:
        data = bytearray(struct.pack("<12i", 5, -3, 99, 0, 7, 7, -100, 12, 3, 1 << 30, -8, 2))
        k.call("sort", data, 12, 4, k.symbols[compare], None)
        return bytes(data)

    return call


def _bsearch(k: Kernel) -> object:
    base = k.alloc(32)
    k.write(base, struct.pack("<8i", 1, 3, 5, 7, 9, 11, 13, 15))
    found = k.call("bsearch", struct.pack("<i", 9), base, 8, 4, k.symbols["cmp_int"])
    k.free(base)
    return found - base


def _kstrtoull(text: str, base: int) -> Call:
    def call(k: Kernel) -> object:
        result = bytearray(8)
        return k.call("kstrtoull", text, base, result, signed=True), bytes(result)

    return call


def _tree(k: Kernel) -> object:
    root, nodes = k.alloc(8), [k.alloc(64) for _ in range(8)]
    for node, key in zip(nodes, (50, 20, 70, 10, 30, 60, 80, 30), strict=True):
        k.write(node, struct.pack("<QQq", 0, 0, key))
        k.call("tree_insert", root, node)
    first = int.from_bytes(k.read(root, 8), "little")
    return k.call("tree_depth", first), k.call("tree_find", first, 60) == nodes[5]


def _list(k: Kernel) -> object:
    nodes = [k.alloc(16) for _ in range(5)]
    for index, node in enumerate(nodes):
        following = nodes[index + 1] if index + 1 < len(nodes) else 0
        k.write(node, struct.pack("<Qq", following, index * index - 3))
    total = k.call("list_sum", nodes[0], signed=True)
    head = k.call("list_reverse", nodes[0])
    return total, head == nodes[-1], k.call("list_sum", head, signed=True)


def _atomic(k: Kernel) -> object:
    cell = bytearray(struct.pack("<q", 40))
    return k.call("atomic_add_return", 2, cell), bytes(cell)


def _vectors(k: Kernel) -> object:
    out = bytearray(16)
    k.call("vector_add", out, struct.pack("<4I", 1, 2, 3, 4), struct.pack("<4I", 9, 8, 7, 6))
    return bytes(out)


def _probe_read(address: int) -> Call:
    def call(k: Kernel) -> object:
        out = bytearray(8)
        return k.call("probe_read", out, address, 8, signed=True), bytes(out)

    return call


def _several(*calls: Call) -> Call:
    return lambda k: [call(k) for call in calls]


_PAIRS = [(1, 2), (2, 1), (5, 5), (0, 1 << 63), ((1 << 64) - 1, 1), (1 << 31, (1 << 63) + 7)]

_BOTH: dict[str, Call] = {
    "do_fork": _several(_plain("do_fork", 0, 0, 0), _plain("do_fork", 0x20200, 0, 0)),
    "_do_fork": _plain("_do_fork", 0, 0x1000, 0),
    "kernel_clone": _plain("kernel_clone", bytes(64)),
    "copy_process": _plain("do_fork", 0, 0, 0),
    "dup_task_struct": _plain("do_fork", 0, 0, 0),
    "wake_up_new_task": _plain("do_fork", 0, 0, 0),
    "alloc_pid": _plain("alloc_pid"),
    "nr_running": _plain("nr_running"),
    "strlen": _plain("strlen", TEXT),
    "strcmp": _several(_plain("strcmp", "abc", "abd"), _plain("strcmp", "abc", "abc")),
    "strcpy": _buffer("strcpy", 64, TEXT),
    "strscpy": _several(_buffer("strscpy", 64, TEXT, 64), _buffer("strscpy", 64, TEXT, 5)),
    "strchr": lambda k: bool(k.call("strchr", TEXT, ord("z"))),
    "strstr": lambda k: bool(k.call("strstr", TEXT, "lazy")),
    "memcpy": _buffer("memcpy", 64, TEXT, 40),
    "memmove": _buffer("memmove", 64, TEXT, 40),
    "memset": _buffer("memset", 64, 0xA5, 33),
    "memcmp": _several(
        _plain("memcmp", b"abcd", b"abce", 4), _plain("memcmp", b"abcd", b"abcd", 4)
    ),
    "crc32_le": _plain("crc32_le", 0xFFFFFFFF, b"123456789", 9),
    "fnv1a32": _plain("fnv1a32", TEXT, 43),
    "xxh32": _several(_plain("xxh32", TEXT, 43, 7), _plain("xxh32", TEXT, 3, 7)),
    "hash_32": _plain("hash_32", 0x12345678, 10),
    "hweight64": _plain("hweight64", 0xF0F0_1234_5678_9ABC),
    "find_next_bit": _plain("find_next_bit", bytes(4) + b"\x40" + bytes(11), 128, 3),
    "bit_reverse": _plain("bit_reverse", 0x0123456789ABCDEF),
    "int_sqrt": _plain("int_sqrt", 1_000_003),
    "gcd": _plain("gcd", 123456, 7890),
    "lcm": _plain("lcm", 12, 18),
    "int_pow": _plain("int_pow", 7, 13),
    "negate": _plain("negate", 5),
    "sum10": _plain("sum10", *range(1, 11)),
    "calculate": _several(*(_plain("calculate", op, 40, 7) for op in range(10))),
    "num_to_str": _buffer("num_to_str", 32, 32, 9876543210),
    "kstrtoull": _several(_kstrtoull("0x1f", 0), _kstrtoull("12x", 10), _kstrtoull("777", 8)),
    "sort": _several(_sort("cmp_int"), _sort("cmp_int_desc")),
    "sift_down": _sort("cmp_int"),
    "swap_bytes": _sort("cmp_int"),
    "cmp_int": _sort("cmp_int"),
    "cmp_int_desc": _sort("cmp_int_desc"),
    "bsearch": _bsearch,
    "fib": _plain("fib", 9),
    "recurse": _plain("recurse", 20),
    "count_to": _plain("count_to", 50),
    "this_cpu_inc_counter": _plain("this_cpu_inc_counter"),
    "smp_processor_id": _plain("smp_processor_id"),
    "get_current_pid": _plain("get_current_pid"),
    "get_current_comm": _buffer("get_current_comm", 16, 16),
    "guarded_fill": _plain("guarded_fill", 8),
    "kprobe_target": _plain("kprobe_target", 100),
    "kprobe_recursed_target": _plain("kprobe_recursed_target", 100),
    "static_branch": _plain("static_branch", 3),
    "tree_insert": _tree,
    "tree_find": _tree,
    "tree_depth": _tree,
    "list_sum": _list,
    "list_reverse": _list,
    "divide": _plain("divide", 100, 7),
    "remainder": _plain("remainder", 100, 7),
    "mul_high": _plain("mul_high", 1 << 63, 6),
    "add128": _buffer("add128", 16, b"\xff" * 16),
    "shuffle_bits": _plain("shuffle_bits", 0x0123456789ABCDEF, 5),
    "atomic_add_return": _atomic,
    "branches": _several(*(_plain("branches", *pair) for pair in _PAIRS)),
    "warn_if": _several(_plain("warn_if", 0), _plain("warn_if", 1)),
    "calls": _plain("calls", 10),
    "tail_call": _plain("tail_call", 10),
    "irq_save_restore": _plain("irq_save_restore", 3),
    "flag_bits": _several(*(_plain("flag_bits", *pair) for pair in _PAIRS)),
    "probe_read": _several(_probe_read(0), _probe_read(0xDEAD_0000_0000)),
    "vector_add": _vectors,
}

_X86: dict[str, Call] = {
    "rep_copy": _buffer("rep_copy", 64, TEXT, 44),
    "rep_fill": _buffer("rep_fill", 64, 0x5A5A5A5A5A5A5A5A, 8),
    "rep_equal": _several(
        _plain("rep_equal", TEXT, TEXT, 44), _plain("rep_equal", TEXT, TEXT[1:] + b"!", 43)
    ),
    "scan_length": _plain("scan_length", TEXT),
    "upper_case": _buffer("upper_case", 64, TEXT),
    "loops": _several(_plain("loops", 1), _plain("loops", 2), _plain("loops", 9)),
    "conditions": _several(*(_plain("conditions", *pair) for pair in _PAIRS)),
    "stack_sum": _plain("calls", 4),
    "stack_moves": _plain("stack_moves", 21),
    "irq_enable": _plain("irq_enable", 1),
    "rip_relative": _plain("rip_relative", 1234, 77),
    "rip_call": _plain("rip_call", 5),
    "rip_vector_sum": _plain("rip_vector_sum", 5),
    "endbr_entry": _plain("endbr_entry", 5),
    "x87_square": _plain("x87_square", 12),
}

_ARM64: dict[str, Call] = {
    "selects": _several(*(_plain("selects", *pair) for pair in _PAIRS)),
    "test_bits": _several(_plain("test_bits", 0), _plain("test_bits", (1 << 63) | 5)),
    "return_by_x9": _plain("calls", 4),
    "landing_pad": _plain("landing_pad", 5),
    "signed_return": _plain("signed_return", 5),
    "literal_loads": _plain("literal_loads"),
    "addresses": _plain("addresses", 5),
    "addressing": _plain("addressing", bytes(256)),
    "pair_copy": _buffer("pair_copy", 64, (TEXT + bytes(64))[:64], 4),
    "current_el": _plain("current_el"),
    "barriers": _plain("barriers", 3),
    "float_square": _plain("float_square", 12),
    "atomic_swap": lambda k: k.call("atomic_swap", 5, bytearray(8)),
}

CALLS: dict[str, dict[str, Call]] = {"x86_64": _BOTH | _X86, "arm64": _BOTH | _ARM64}
"""Every call by the function that it is about."""
