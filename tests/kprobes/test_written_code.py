"""Code that a handler writes is what runs next, in the block that it was hit in, too.

The return from a trap serialises (SDM volume 3, 9.3; Arm ARM B2.2.5).
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kprobesim import Kernel
from kprobesim.kernel.called import CalledKernel

# Adds 1 twice to 0; the first addition, at PATCHED, becomes NEW, which adds 16. Probes go to
# instructions before it in the same block.
CODE = {
    "x86_64": bytes.fromhex("31c0 90 90 90909090 83c001 83c001 c3"),
    "arm64": struct.pack(
        "<7I",
        *(0xD2800000, 0xD503201F, 0xD503201F, 0xD503201F),  # mov x0, #0; nop ...
        *(0x91000400, 0x91000400, 0xD65F03C0),  # add x0, x0, #1 twice; ret
    ),
}
PATCHED = {"x86_64": 8, "arm64": 16}
NEW = {"x86_64": bytes.fromhex("83c010"), "arm64": struct.pack("<I", 0x91004000)}
PLACES = {"x86_64": (2, 3, 8), "arm64": (4, 8, 16)}


@pytest.fixture(params=["breakpoint", "hook"])
def called(sample: Path, request: pytest.FixtureRequest) -> CalledKernel:
    """A guest for each way of arming."""
    return Kernel.load(sample, arming=request.param)


@pytest.mark.parametrize("handler", ["pre_handler", "post_handler"])
@pytest.mark.parametrize("place", [0, 1])
def test_what_a_handler_writes_runs_next(called: CalledKernel, handler: str, place: int) -> None:
    arch = called.arch
    at = called.symbols["strlen"].address
    called.write(at, CODE[arch])
    assert called.call(at) == 2
    hits = []

    def patch(*_: object) -> None:
        hits.append(1)
        called.write(at + PATCHED[arch], NEW[arch])

    with called.probing(addr=at + PLACES[arch][place], **{handler: patch}):  # type: ignore[arg-type]
        for calls in (1, 2):
            assert called.call(at) == 17
            assert len(hits) == calls
    assert called.call(at) == 17


def test_a_hit_whose_block_starts_anew_is_counted_once(called: CalledKernel) -> None:
    """Also by the next call, if the guest was left before it went on."""
    arch = called.arch
    at = called.symbols["strlen"].address
    called.write(at, CODE[arch])
    hits = []

    def patch_and_stop(*_: object) -> None:
        hits.append(1)
        called.write(at + PATCHED[arch], NEW[arch])
        if len(hits) == 1:
            raise KeyError("stopped")

    with called.probing(addr=at + PLACES[arch][0], pre_handler=patch_and_stop):
        with pytest.raises(KeyError):
            called.call(at)
        assert called.call(at) == 17
        assert called.call(at) == 17
    assert len(hits) == 3
