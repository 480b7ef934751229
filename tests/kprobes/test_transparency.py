"""A probe that changes nothing changes nothing: on every instruction of the sample guests."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest_calls import CALLS

from kprobesim import GuestFault, Kernel, Kprobe, KprobeError

_STEP = {"x86_64": 1, "arm64": 4}
# Constants between the code: a breakpoint there is a changed constant, on a real kernel, too.
_DATA_IN_TEXT = {"x86_64": {}, "arm64": {"literal_loads": range(44, 64)}}


def _probe_everything(k: Kernel, hits: list[int], *, jumps: bool) -> list[Kprobe]:
    """Arm a probe on every instruction of the kernel's text that takes one.

    ``jumps``: as many as can be optimised, one behind the other.
    """

    def pre(p: Kprobe, regs: object) -> None:
        hits.append(p.addr or 0)

    def post(p: Kprobe, regs: object, flags: int) -> None:
        hits.append(p.addr or 0)

    data = {
        k.symbols[name].address + offset
        for name, offsets in _DATA_IN_TEXT[k.arch].items()
        for offset in offsets
    }
    probes: list[Kprobe] = []
    for start, end in k.image.text_ranges:
        free = start
        for address in range(start, end, _STEP[k.arch]):
            # Every third with a pre_handler alone: those may be boosted.
            quiet = jumps or len(probes) % 3 == 0
            if address in data or address < free:
                continue
            p = Kprobe(addr=address, pre_handler=pre, post_handler=None if quiet else post)
            try:
                k.register_kprobe(p)
            except KprobeError:
                continue
            probes.append(p)
            if jumps:
                free = address + k.kprobes.rules.optimizable.size(address)
    k.kprobes.wait_for_optimizer()
    return probes


def _text(k: Kernel) -> bytes:
    return b"".join(k.read(start, end - start) for start, end in k.image.text_ranges)


def _data(k: Kernel) -> bytes:
    start, end = k.symbols["_sdata"].address, k.symbols["_end"].address
    return k.read(start, end - start)


@pytest.fixture(scope="module", params=["x86_64", "arm64"])
def arch(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(
    scope="module",
    params=[
        "breakpoint",
        "trap",
        "hook",
        "model 2.6",
        "model 5.10",
        "model 6.17",
        "hook 5.10",
        "jumps",
    ],
)
def probed(arch: str, request: pytest.FixtureRequest) -> Iterator[tuple[Kernel, list[int]]]:
    """A guest with a probe on everything, and the list that its handlers append to."""
    way, _, model = request.param.partition(" ")
    hook, jumps = way == "hook", way == "jumps"
    if jumps and arch == "arm64":
        pytest.skip("there are no jumps")
    how = {"stepping": way} if way in ("breakpoint", "trap") else {}
    how |= {"arming": "hook" if hook else "breakpoint"}
    k = Kernel.load(_sample(arch), model=model or None, **how)
    hits: list[int] = []
    before = _text(k)
    probes = _probe_everything(k, hits, jumps=jumps)
    assert len(probes) > 1000
    assert (_text(k) == before) == hook
    yield k, hits
    k.unregister_kprobes(probes)
    assert _text(k) == before
    assert k.kprobes.slots.used == 0
    assert len(k.kprobes) == 0


@pytest.fixture(scope="module")
def plain(arch: str) -> Kernel:
    return Kernel.load(_sample(arch))


def _sample(arch: str) -> Path:
    return Path(__file__).parents[2] / "samples" / f"guest-{arch}.elf"


def test_every_function_does_the_same(
    plain: Kernel, probed: tuple[Kernel, list[int]], arch: str
) -> None:
    k, hits = probed
    fresh = Kernel.load(_sample(arch))
    for function, call in CALLS[arch].items():
        hits.clear()
        expected = call(fresh)
        assert call(k) == expected, function
        symbol = k.symbols[function]
        inside = [hit for hit in hits if symbol.address <= hit < symbol.address + symbol.size]
        assert inside, f"no probe fired in {function}"
        assert _data(k) == _data(fresh), function


def test_registers_at_return_are_the_same(
    plain: Kernel, probed: tuple[Kernel, list[int]], arch: str
) -> None:
    """All registers and flags, not just the result, when the function returns to nowhere."""
    k, _ = probed
    for function in ("gcd", "branches", "shuffle_bits", "flag_bits"):
        assert _state_at_return(plain, function) == _state_at_return(k, function), function


_NOWHERE = 0x1000
_RETURN_TO_NOWHERE = {
    # mov qword [rsp], 0x1000; jmp rdx
    "x86_64": bytes.fromhex("48c7042400100000ffe2"),
    # mov x30, #0x1000; br x2
    "arm64": struct.pack("<2I", 0xD282001E, 0xD61F0040),
}


def _state_at_return(k: Kernel, function: str) -> dict[str, int]:
    code = k.alloc(16, executable=True)
    k.write(code, _RETURN_TO_NOWHERE[k.arch])
    with pytest.raises(GuestFault) as caught:
        k.call(code, 123456, 7890, k.symbols[function])
    k.free(code)
    assert caught.value.pc == _NOWHERE
    return caught.value.regs.as_dict()
