"""What compilers make of ``if``: choices without branches, errors that are there first, arithmetic.

A few instructions each, by hand, on both architectures.
"""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel
from kprobesim.why.answer import Why

CODE: dict[str, dict[str, str]] = {
    # return x ? -22 : 0, by arithmetic
    "arithmetic": {
        "x86_64": "f7df 19c0 83e0ea c3",  # neg edi; sbb eax,eax; and eax,-22; ret
        "arm64": "7100001f 5a9f03e1 128002a2 0a020020 d65f03c0",
        # cmp w0,#0; csetm w1,ne; mov w2,#-22; and w0,w1,w2; ret
    },
    # the same, by a choice
    "choice": {
        "x86_64": "31d2 b8eaffffff 85ff 0f44c2 c3",
        # xor edx,edx; mov eax,-22; test edi,edi; cmove eax,edx; ret
        "arm64": "128002a1 7100001f 1a9f1020 d65f03c0",
        # mov w1,#-22; cmp w0,#0; csel w0,w1,wzr,ne; ret
    },
    # err = -22; if (x) goto out; err = 0; out: if (y) nop; return err
    "goto out": {
        "x86_64": "b8eaffffff 85ff 7502 31c0 85f6 7401 90 c3",
        "arm64": "128002a2 35000040 2a1f03e2 34000041 d503201f 2a0203e0 d65f03c0",
    },
    # return (x >> 3 & 1) - 1
    "bit": {
        "x86_64": "89f8 c1e803 83e001 83e801 c3",
        "arm64": "53030c00 51000400 d65f03c0",
    },
    # err = f(x); if (err) return -22; return err: f's -22 is made anew
    "made anew": {
        "x86_64": "e80b000000 85c0 7501 c3 b8eaffffff c3 b8eaffffff 85ff 7502 31c0 c3",
        "arm64": "f81f0ffe 94000006 f84107fe 35000040 d65f03c0 128002a0 d65f03c0"
        " 128002a2 35000040 2a1f03e2 2a0203e0 d65f03c0",
    },
    # the error goes through the stack, and comes out of an inner function's check
    "inner": {
        "x86_64": "e807000000 50 58 85c0 7500 c3 b8eaffffff 85ff 7502 31c0 c3",
        # call f; push rax; pop rax; test eax,eax; jne +0; ret; f: as "goto out"
        "arm64": "f81f0ffe 94000005 f81f0fe0 f84107e0 f84107fe d65f03c0"
        " 128002a2 35000040 2a1f03e2 2a0203e0 d65f03c0",
    },
}


def code(text: str, arch: str) -> bytes:
    """Bytes in order for x86-64; words for ARM64."""
    if arch == "x86_64":
        return bytes.fromhex(text.replace(" ", ""))
    return b"".join(int(word, 16).to_bytes(4, "little") for word in text.split())


def ask(guest: CalledKernel, name: str, *arguments: int) -> tuple[Why, int]:
    """The answer, and where the code begins."""
    raw = code(CODE[name][guest.arch], guest.arch)
    address = guest.alloc(64, executable=True)
    guest.write(address, raw)
    return guest.why(address, *arguments), address


@pytest.mark.parametrize(
    ("name", "kind", "offsets"),
    [
        ("arithmetic", "flags", {"x86_64": 2, "arm64": 4}),
        ("choice", "choice", {"x86_64": 9, "arm64": 8}),
        ("goto out", "branch", {"x86_64": 7, "arm64": 4}),
        ("inner", "branch", {"x86_64": 19, "arm64": 28}),
        ("made anew", "branch", {"x86_64": 23, "arm64": 32}),
    ],
)
def test_what_decides(guest: CalledKernel, name: str, kind: str, offsets: dict[str, int]) -> None:
    why, start = ask(guest, name, 5, 1)
    assert why.returned & 0xFFFFFFFF == 0xFFFFFFEA
    assert why.branch is not None
    assert (why.branch.kind, why.branch.place.address - start) == (kind, offsets[guest.arch])
    assert why.branch.otherwise == "it would have returned 0"
    assert 5 in [value.value for value in why.branch.compared] or guest.arch == "x86_64"


def test_a_bit_decides(guest: CalledKernel) -> None:
    why, start = ask(guest, "bit", 5)
    assert why.returned & 0xFFFFFFFF == 0xFFFFFFFF
    assert why.branch is not None
    assert why.branch.kind == "flags"
    assert why.branch.place.address - start == {"x86_64": 5, "arm64": 0}[guest.arch]
    assert why.branch.otherwise == "it would have returned 0"


def test_nothing_decides(guest: CalledKernel) -> None:
    always = {"x86_64": "b8eaffffff c3", "arm64": "128002a0 d65f03c0"}
    address = guest.alloc(16, executable=True)
    guest.write(address, code(always[guest.arch], guest.arch))
    why = guest.why(address)
    assert why.branch is None
    assert "no branch leads to another result" in str(why)
    assert why.made is not None
    assert why.made.address == address
