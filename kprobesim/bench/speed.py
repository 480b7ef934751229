"""How fast guest code runs on our machine, beside a plain Unicorn on the same memory."""

from __future__ import annotations

import binascii
import hashlib
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from kprobesim.bench.contest import Contender, Contest, Target, check, seconds
from kprobesim.bench.guestcode import COMPARE_U32, RETURN_LOOP
from kprobesim.bench.plain import Plain
from kprobesim.bench.sizes import Sizes
from kprobesim.kernel.called import CalledKernel

__all__ = ["function_contests", "loop_contest"]

LOOP_AT_MOST = 0.12
FUNCTION_AT_MOST = 0.3

_PLAIN = "plain Unicorn, UC_TLB_VIRTUAL, no fill hook"
_SHA256_NAMES = ("sha256_update", "__sha256_update")
# struct sha256_state (include/crypto/sha2.h): u32 state[8]; u64 count; u8 buf[64]
_SHA256_BYTES = 32 + 8 + 64
_SHA256_INIT = struct.pack(
    "<8I",
    *(0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A),
    *(0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19),
)


@dataclass
class _Job:
    """One guest function's work: ``prepare`` before each call, ``verify`` its result after."""

    key: str
    title: str
    setting: str
    function: int
    arguments: tuple[int, ...]
    prepare: Callable[[], None]
    verify: Callable[[int], None]


def loop_contest(kernel: CalledKernel, sizes: Sizes) -> Contest:
    """A loop that calls a function that returns at once: nothing but the machine's own cost."""
    code = RETURN_LOOP[kernel.arch]
    loop = kernel.alloc(len(code), executable=True)
    kernel.write(loop, code)
    calls = sizes.calls
    job = _Job(
        "loop",
        "a call and its return",
        f"{calls:,} calls a round in a bare guest loop",
        loop,
        (calls,),
        lambda: None,
        lambda result: check("the loop's result", result, 0),
    )
    return _contest(kernel, job, "ns a call", 1e9 / calls, LOOP_AT_MOST)


def function_contests(kernel: CalledKernel, sizes: Sizes, *, judged: bool = True) -> list[Contest]:
    """sha256 (or another hash), sort and memcpy of the image; targets are for real kernels only."""
    jobs = [_hash_job(kernel, sizes), _sort_job(kernel, sizes), _copy_job(kernel, sizes)]
    at_most = FUNCTION_AT_MOST if judged else None
    return [_contest(kernel, job, "ms", 1e3, at_most) for job in jobs]


def _contest(
    kernel: CalledKernel, job: _Job, unit: str, scale: float, at_most: float | None
) -> Contest:
    plain = Plain(kernel, "virtual")

    def measure(call: Callable[[], int]) -> float:
        job.prepare()
        results: list[int] = []
        taken = seconds(lambda: results.append(call()))
        job.verify(results[0])
        return taken * scale

    def on_plain() -> float:
        return measure(lambda: plain.call(job.function, *job.arguments))

    def on_ours() -> float:
        return measure(lambda: kernel.call(job.function, *job.arguments, timeout=None))

    return Contest(
        kernel.arch,
        job.key,
        job.title,
        unit,
        job.setting,
        [
            Contender("plain", _PLAIN, on_plain),
            Contender("ours", "kprobesim", on_ours, Target("plain", at_most)),
        ],
    )


# -- the functions ---------------------------------------------------------------------------------


def _place(kernel: CalledKernel, data: bytes) -> int:
    address = kernel.alloc(len(data))
    kernel.write(address, data)
    return address


def _hash_job(kernel: CalledKernel, sizes: Sizes) -> _Job:
    data = random.Random(256).randbytes(sizes.hash_bytes)
    name = next((name for name in _SHA256_NAMES if name in kernel.symbols), None)
    if name is None:
        return _checksum_job(kernel, data)
    # Padded by ourselves: the state after the update is then the digest.
    padding = b"\x80" + bytes(-(len(data) + 9) % 64) + struct.pack(">Q", 8 * len(data))
    padded = data + padding
    source = _place(kernel, padded)
    state = kernel.alloc(_SHA256_BYTES)
    digest = hashlib.sha256(data).digest()

    def prepare() -> None:
        kernel.write(state, _SHA256_INIT.ljust(_SHA256_BYTES, b"\0"))

    def verify(_result: int) -> None:
        words = struct.unpack("<8I", kernel.read(state, 32))
        check("the guest's sha256", struct.pack(">8I", *words).hex(), digest.hex())

    setting = f"{name} over {len(data):,} bytes"
    return _Job(
        *("sha256", "sha256", setting, kernel.symbols[name].address),
        *((state, source, len(padded)), prepare, verify),
    )


def _checksum_job(kernel: CalledKernel, data: bytes) -> _Job:
    """The sample guests have no sha256; CRC-32 does for them."""
    source = _place(kernel, data)
    expected = binascii.crc32(data) ^ 0xFFFFFFFF
    setting = f"crc32_le over {len(data):,} bytes (this guest has no sha256)"
    return _Job(
        *("crc32", "crc32_le", setting, kernel.symbols["crc32_le"].address),
        (0xFFFFFFFF, source, len(data)),
        lambda: None,
        lambda result: check("the guest's CRC-32", result & 0xFFFFFFFF, expected),
    )


def _sort_job(kernel: CalledKernel, sizes: Sizes) -> _Job:
    count = sizes.sort_elements
    rng = random.Random(50)
    values = [rng.randrange(1 << 31) for _ in range(count)]
    unsorted, in_order = (struct.pack(f"<{count}I", *v) for v in (values, sorted(values)))
    array = kernel.alloc(len(unsorted))
    compare = kernel.alloc(64, executable=True)
    kernel.write(compare, COMPARE_U32[kernel.arch])
    return _Job(
        *("sort", "sort", f"sort of {count:,} u32 with a comparator in guest code"),
        kernel.symbols["sort"].address,
        (array, count, 4, compare, 0),
        lambda: kernel.write(array, unsorted),
        lambda _: check("sorted", kernel.read(array, len(in_order)) == in_order, True),
    )


def _copy_job(kernel: CalledKernel, sizes: Sizes) -> _Job:
    data = random.Random(5).randbytes(sizes.copy_bytes)
    source, to = _place(kernel, data), kernel.alloc(len(data))
    return _Job(
        *("memcpy", "memcpy", f"memcpy of {len(data):,} bytes"),
        kernel.symbols["memcpy"].address,
        (to, source, len(data)),
        lambda: kernel.write(to, bytes(len(data))),
        lambda _: check("copied", kernel.read(to, len(data)) == data, True),
    )
