"""Stores of every kind are seen late, whole and by their own CPU, where nothing holds them."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim import CalledKernel, call
from kprobesim.sizes import PAGE

RET = {"x86_64": "c3", "arm64": "c0035fd6"}
FLAG = 256
"""Bytes from what is stored to the flag."""
# Each stores to what the first argument points to and loads the flag; the flag is the result.
LOAD = {"x86_64": "8b8700010000", "arm64": "000041b9"}  # mov eax, [rdi + 256]; ldr w0, [x0, #256]
# The other CPU sets the flag, waits, and returns eight bytes of what was stored.
OTHER = {
    "x86_64": "c7870001000001000000 0faef0 488b06",  # ...; mov rax, [rsi]
    "arm64": "29008052 090001b9 bf3b03d5 200040f9",  # ...; dmb ish; ldr x0, [x1]
}
# What is stored (of eight bytes from an offset on, from all zeroes), and by what.
LATE = {
    "x86_64": {
        "or without lock": (0, 5, "830f05"),
        "add to memory": (0, 3, "830703"),
        "inc": (0, 1, "ff07"),
        "bts": (0, 32, "0fba2f05"),
        "sete": (0, 1, "39c00f9407"),  # after cmp eax, eax
        "push": (0, 0x77, "4889e1488d670868770000005a4889cc"),  # push 0x77 with rsp = rdi + 8; pop
        "mov to an odd address": (0, 0x1234_5678 << 8, "c7470178563412"),
        "16 bytes": (8, 0xFFFF_FFFF_FFFF_FFFF, "660f76c00f1107"),  # pcmpeqd; movups [rdi], xmm0
        "a string": (8, 0xAA, "4889fa b909000000 b0aa f3aa 4889d7"),  # rep stosb, nine bytes
        "past the caches": (0, 0xFFFF_FFFF, "83c8ff0fc307"),  # or eax, -1; movnti [rdi], eax
    },
    "arm64": {
        "a byte": (0, 1, "29008052 09000039"),  # mov w9, #1; strb w9, [x0]
        "a pair": (8, 1, "29008052 092400a9"),  # stp x9, x9, [x0]
        "an odd address": (0, 0x100, "29008052 091000b8"),  # stur w9, [x0, #1]
        "a pair, and the base moves": (8, 1, "29008052 092481a8 004000d1"),
        "released": (0, 1, "29008052 09fc9fc8"),  # stlr x9, [x0]
        "16 bytes": (8, 0xFFFF_FFFF_FFFF_FFFF, "e0e7076f 0000803d"),
    },
}
NOW = {
    "x86_64": {
        "lock or": (0, 5, "f0830f05"),
        "or, with the prefix of one CPU": (0, 5, "3e830f05"),
        "lock inc": (0, 1, "f0ff07"),
        "inc, with the prefix of one CPU": (0, 1, "3eff07"),
        "xchg": (0, 1, "b8010000008707"),
        "xadd": (0, 1, "b801000000f00fc107"),
        "cmpxchg": (0, 7, "31c0ba07000000f00fb117"),
        "mfence": (0, 1, "c707010000000faef0"),
        "cpuid": (0, 1, "c7070100000031c0530fa25b"),
        "lock add to the stack": (0, 1, "c70701000000f083042400"),
    },
    "arm64": {
        "dmb ish": (0, 1, "29008052 090000b9 bf3b03d5"),
        "dsb ish": (0, 1, "29008052 090000b9 9f3b03d5"),
    },
}
CASES = [
    (arch, late, name)
    for late, table in ((True, LATE), (False, NOW))
    for arch, kinds in table.items()
    for name in kinds
]


@pytest.mark.parametrize(("arch", "late", "name"), CASES)
def test_a_store_is_late_or_not(arch: str, late: bool, name: str) -> None:
    kernel = CalledKernel.sample(arch)
    at, value, store = (LATE if late else NOW)[arch][name]
    found = _outcomes(kernel, store + LOAD[arch], 0, at)
    assert found <= {(0, 0), (0, value), (1, 0), (1, value)}
    assert ((0, 0) in found) == late
    assert (1, value) in found  # whole


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_what_lies_across_pages_is_seen_at_once(arch: str) -> None:
    kernel = CalledKernel.sample(arch)
    store = {"x86_64": "c74701ffffffff", "arm64": "09008012 091000b8"}[arch]
    found = _outcomes(kernel, store + LOAD[arch], PAGE - 3, 0)
    assert (0, 0) not in found
    assert (0, 0xFFFF_FFFF << 8) in found


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_a_cpu_loads_its_own_stores_in_parts(arch: str) -> None:
    kernel = CalledKernel.sample(arch)
    code = {  # eight bytes are stored, then one of them; and loaded again
        "x86_64": "48c707ffffffff c6470200 488b07",
        "arm64": "09008092 090000f9 1f080039 000040f9",
    }[arch]
    whole = 0xFFFF_FFFF_FF00_FFFF
    found = _outcomes(kernel, code, 0, 0)
    assert {own for own, _ in found} == {whole}
    assert {other for _, other in found} == {0, whole, 0xFFFF_FFFF_FFFF_FFFF}


@pytest.mark.parametrize(("fence", "late"), [("", True), ("0faef8", False)])
def test_what_goes_past_the_caches_waits_for_no_other_store(fence: str, late: bool) -> None:
    kernel = CalledKernel.sample("x86_64")
    area = kernel.alloc(2 * PAGE)
    kernel.write(area, bytes(2 * PAGE))
    write = f"b801000000 0fc307 {fence} c7870001000001000000 {RET['x86_64']}"
    read = f"8b8700010000 8b0f 48c1e120 4809c8 {RET['x86_64']}"  # the flag, then the place
    found: set[int] = set()
    programs: dict[str, Any] = {
        name: call(_put(kernel, code), area) for name, code in (("a", write), ("b", read))
    }
    kernel.race(invariant=lambda r: found.add(r["b"]), memory="tso", data_races=False, **programs)
    assert (1 in found) == late and {0, 1 << 32 | 1} <= found


def _outcomes(kernel: CalledKernel, code: str, offset: int, at: int) -> set[tuple[int, int]]:
    """What the two return, over all schedules."""
    arch, found = kernel.arch, set()
    area = kernel.alloc(2 * PAGE)
    kernel.write(area, bytes(2 * PAGE))
    place = area + offset
    one = call(_put(kernel, code + RET[arch]), place)
    two = call(_put(kernel, OTHER[arch] + RET[arch]), place, place + at)
    result = kernel.race(
        one=one,
        two=two,
        memory="tso",
        data_races=False,
        invariant=lambda results: found.add((results["one"], results["two"])),
    )
    assert result.failures == [], result
    return found


def _put(kernel: CalledKernel, code: str) -> int:
    data = bytes.fromhex(code)
    address = kernel.alloc(len(data), executable=True)
    kernel.write(address, data)
    return address
