"""Tell what the function that makes a process returned, and how much work that was.

    python samples/kretprobe_example.py [IMAGE [SYMBOL]]

SYMBOL is kernel_clone unless given; it was _do_fork before 5.10 and do_fork before 4.2.
"""

from __future__ import annotations

import sys
from ctypes import c_int
from typing import Any

from kprobe_example import SAMPLE, fork

from kprobesim import Kernel, Kprobe, KprobesimError, Kretprobe, KretprobeInstance

DATA_SIZE = 8  # what each call remembers from its entry to its return


def main(image: str = str(SAMPLE), symbol: str = "kernel_clone") -> None:
    k = Kernel.load(image)
    allocations = 0

    def count(p: Kprobe, regs: Any) -> None:
        nonlocal allocations
        allocations += 1

    def entry_handler(ri: KretprobeInstance, regs: Any) -> int:
        ri.data[:] = allocations.to_bytes(DATA_SIZE, "little")
        return 0  # 1: this call is not followed

    def ret_handler(ri: KretprobeInstance, regs: Any) -> None:
        made = allocations - int.from_bytes(ri.data, "little")
        value = c_int(regs.return_value).value
        print(f"{symbol} returned {value} after {made} calls of alloc_pid")

    rp = Kretprobe(symbol, ret_handler, entry_handler, maxactive=20, data_size=DATA_SIZE)
    k.register_kretprobe(rp)
    print(f"planted return probe at {symbol}: {rp.kp.addr:#x}")
    with k.probing("alloc_pid", pre_handler=count):
        fork(k)
    k.unregister_kretprobe(rp)
    print(f"missed probing {rp.nmissed} instances of {symbol}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except KprobesimError as error:
        sys.exit(f"{error}")
