"""Sorting, searching, trees, lists, bitmaps and decompression."""

from __future__ import annotations

import struct
import zlib

import lz4.block
from real.real_cases.case import Guest, case

_WORDS = [(n * 0x9E3779B97F4A7C15 + 0xDEADBEEF) % (1 << 64) for n in range(24)]
_NAMES = sorted(b"call fault fork kprobe notify post pre probe slot step text trap".split())
_TEXT = b"".join(b"kprobe at line %d; " % (n % 7) for n in range(24))
_NODE = 32

# int compare(void *priv, node *a, node *b): a->key > b->key, with the key behind two pointers.
_X86_LIST_COMPARE = "488b4610 483b4210 0f97c0 0fb6c0 c3"
_ARM64_LIST_COMPARE = "230840f9 440840f9 7f0004eb e0979f1a c0035fd6"
# int compare(u64 *a, u64 *b): (*a > *b) - (*a < *b)
_X86_COMPARE = "488b07 483b06 0f97c0 0f92c1 28c8 0fbec0 c3"
_ARM64_COMPARE = "000040f9 210040f9 1f0001eb e0979f1a 00209f5a c0035fd6"


def _sort(guest: Guest) -> list[int]:
    array = guest.put(struct.pack("<24Q", *_WORDS))
    compare = guest.code(_X86_COMPARE, _ARM64_COMPARE)
    guest.call("sort", array, len(_WORDS), 8, compare, None)
    return guest.u64s(array, len(_WORDS))


def _sort_by_kernel(guest: Guest) -> list[bytes]:
    """Fixed-size strings, compared by the kernel's own strcmp."""
    table = guest.put(b"".join(name.ljust(12, b"\0") for name in reversed(_NAMES)))
    guest.call("sort", table, len(_NAMES), 12, guest.kernel.symbols["strcmp"], None)
    data = guest.read(table, 12 * len(_NAMES))
    return [data[at : at + 12].rstrip(b"\0") for at in range(0, len(data), 12)]


def _bsearch(guest: Guest) -> list[int | None]:
    table = guest.put(b"".join(name.ljust(16, b"\0") for name in _NAMES))
    compare = guest.kernel.symbols["strcmp"]
    found = []
    for key in (b"kprobe\0", b"trap\0", b"call\0", b"zzz\0"):
        at = guest.call("bsearch", key, table, len(_NAMES), 16, compare)
        found.append((at - table) // 16 if at else None)
    return found


def _list_sort(guest: Guest) -> list[int]:
    nodes = guest.buf(_NODE * (len(_WORDS) + 1))
    at = [nodes + _NODE * n for n in range(len(_WORDS) + 1)]  # the first is the list's head
    for n, node in enumerate(at):
        key = _WORDS[n - 1] if n else 0
        links = at[(n + 1) % len(at)], at[n - 1]
        guest.kernel.write(node, struct.pack("<3Q", *links, key))
    guest.call("list_sort", None, nodes, guest.code(_X86_LIST_COMPARE, _ARM64_LIST_COMPARE))
    keys, node = [], guest.u64s(nodes, 1)[0]
    while node != nodes:
        following, previous, key = guest.u64s(node, 3)
        assert guest.u64s(previous, 1)[0] == node
        keys.append(key)
        node = following
    return keys


def _rb_insert(guest: Guest, root: int, nodes: int, n: int) -> None:
    """rb_link_node() and rb_insert_color(); struct rb_node is parent and colour, right, left."""
    parent, link = 0, root
    while child := guest.u64s(link, 1)[0]:
        parent = child
        link = child + (16 if _WORDS[n] < guest.u64s(child + 24, 1)[0] else 8)
    node = nodes + _NODE * n
    guest.kernel.write(node, struct.pack("<4Q", parent, 0, 0, _WORDS[n]))
    guest.kernel.write(link, struct.pack("<Q", node))
    guest.call("rb_insert_color", node, root)


def _black_height(guest: Guest, node: int) -> int:
    """Checks the tree's rules on the way: red nodes have black children, equal black heights."""
    if not node:
        return 1
    parent, right, left = guest.u64s(node, 3)
    black = parent & 1
    for child in (left, right):
        assert not child or black or guest.u64s(child, 1)[0] & 1, "two red nodes in a row"
    heights = {_black_height(guest, left), _black_height(guest, right)}
    assert len(heights) == 1, f"black heights differ: {heights}"
    return heights.pop() + black


def _rbtree(guest: Guest) -> list[int]:
    root, nodes = guest.buf(8), guest.buf(_NODE * len(_WORDS))
    for n in range(len(_WORDS)):
        _rb_insert(guest, root, nodes, n)
    for n in range(0, len(_WORDS), 3):
        guest.call("rb_erase", nodes + _NODE * n, root)
    _black_height(guest, guest.u64s(root, 1)[0])
    node = guest.u64s(root, 1)[0]
    while left := guest.u64s(node + 16, 1)[0]:
        node = left
    assert guest.name("rb_first") is None or guest.call("rb_first", root) == node
    keys = []
    while node:
        keys.append(guest.u64s(node + 24, 1)[0])
        node = guest.call("rb_next", node)
    return keys


def _lz4(guest: Guest) -> tuple[int, bytes]:
    packed = lz4.block.compress(_TEXT, store_size=False)
    target = guest.buf(len(_TEXT))
    size = guest.int("LZ4_decompress_safe", packed, target, len(packed), len(_TEXT))
    return size, guest.read(target, len(_TEXT))


def _inflate(guest: Guest) -> tuple[int, int, bytes, int]:
    """Struct z_stream_s: include/linux/zlib.h, 6.1."""
    packed = zlib.compress(_TEXT, 9)
    target = guest.buf(len(_TEXT))
    workspace = guest.buf(guest.u32("zlib_inflate_workspacesize"))
    stream = guest.put(
        struct.pack(
            "<12Q",
            guest.put(packed),
            len(packed),
            0,
            target,
            len(_TEXT),
            0,
            0,
            0,
            workspace,
            0,
            0,
            0,
        )
    )
    start = guest.int("zlib_inflateInit2", stream, 15)
    end = guest.int("zlib_inflate", stream, 4)  # Z_FINISH
    return start, end, guest.read(target, len(_TEXT)), guest.u64s(stream + 80, 1)[0]


def _llist_reverse(guest: Guest) -> list[int]:
    nodes = guest.buf(8 * 9)
    for n in range(8):
        guest.kernel.write(nodes + 8 * n, struct.pack("<Q", nodes + 8 * (n + 1)))
    order, node = [], guest.call("llist_reverse_order", nodes)
    while node:
        order.append((node - nodes) // 8)
        node = guest.u64s(node, 1)[0]
    return order


_BITS = sum(1 << bit for bit in (3, 64, 65, 130, 199))
_MAP = _BITS.to_bytes(32, "little")


def _words_of(value: int) -> bytes:
    return value.to_bytes(32, "little")


def _bits_left(guest: Guest, function: str, *arguments: object) -> int:
    return int.from_bytes(guest.filled(32, function, *arguments), "little")


def _find_all(guest: Guest) -> list[int]:
    found, start = [], 0
    while (start := guest.call("_find_next_bit", _MAP, 256, start)) < 256:
        found.append(start)
        start += 1
    return found


def _parse_list(guest: Guest) -> tuple[int, int]:
    bitmap = guest.buf(32)
    status = guest.int("bitmap_parselist", b"0-3,8,64-80:2/4\0", bitmap, 256)
    return status, int.from_bytes(guest.read(bitmap, 32), "little")


def _nofault(guest: Guest) -> list[int | bytes]:
    target = guest.buf(16)
    good = guest.int("copy_from_kernel_nofault", target, b"kprobesimulation", 16)
    copied = guest.read(target, 16)
    return [
        good,
        copied,
        *(
            guest.int("copy_from_kernel_nofault", target, bad, 8)
            for bad in (guest.kernel.machine.isa.vmalloc_start - 64, (1 << 64) - 8192)
        ),
    ]


CASES = [
    case("sort", _sort, sorted(_WORDS), inner="sort_r do_cmp do_swap"),
    case("sort strcmp", _sort_by_kernel, _NAMES, inner="sort_r", name="sort-by-strcmp"),
    case("bsearch strcmp", _bsearch, [_NAMES.index(b"kprobe"), _NAMES.index(b"trap"), 0, None]),
    case("list_sort", _list_sort, sorted(_WORDS), inner="merge"),
    case(
        "rb_insert_color rb_erase rb_next",
        _rbtree,
        sorted(word for n, word in enumerate(_WORDS) if n % 3),
    ),
    case("llist_reverse_order", _llist_reverse, list(range(8, -1, -1))),
    case("LZ4_decompress_safe", _lz4, (len(_TEXT), _TEXT), inner="LZ4_decompress_generic"),
    case(
        "zlib_inflateInit2 zlib_inflate",
        _inflate,
        (0, 1, _TEXT, zlib.adler32(_TEXT)),
        inner="inflate_fast zlib_inflate_table zlib_updatewindow zlib_inflateReset",
    ),
    case("_find_next_bit", _find_all, [3, 64, 65, 130, 199]),
    case(
        "__bitmap_weight",
        lambda g: [g.u32("__bitmap_weight", _MAP, n) for n in (256, 66, 3)],
        [5, 3, 0],
        inner="__sw_hweight64",
    ),
    case(
        "__bitmap_shift_left",
        lambda g: _bits_left(g, "__bitmap_shift_left", _MAP, 37, 256),
        _BITS << 37 & (1 << 256) - 1,
    ),
    case(
        "__bitmap_and",
        lambda g: _bits_left(g, "__bitmap_and", _MAP, _words_of(_BITS >> 1), 256),
        _BITS & _BITS >> 1,
    ),
    case(
        "bitmap_find_next_zero_area_off",
        lambda g: g.call("bitmap_find_next_zero_area_off", _MAP, 256, 0, 60, 7, 0),
        136,
    ),
    case(
        "bitmap_parselist",
        _parse_list,
        (0, sum(1 << n for n in (0, 1, 2, 3, 8, *(64 + k for k in range(17) if k % 4 < 2)))),
    ),
    case(
        "__sw_hweight64",
        lambda g: [g.call("__sw_hweight64", word) for word in _WORDS],
        [word.bit_count() for word in _WORDS],
    ),
    case("copy_from_kernel_nofault", _nofault, [0, b"kprobesimulation", -14, -14], faults=2),
]
