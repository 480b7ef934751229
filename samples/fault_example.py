"""A fault_handler that mends what it was given: read_word() is called with a bad pointer.

    python samples/fault_example.py [IMAGE]

IMAGE is one of the sample guests beside this file: read_word() is a function of theirs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kprobesim import GuestFault, Kernel, KprobesimError

BAD_POINTER = 0x10


def main(image: str = str(Path(__file__).parent / "guest-x86_64.elf")) -> None:
    k = Kernel.load(image)
    word = k.alloc(8)
    k.write(word, (42).to_bytes(8, "little"))

    def give_up(p: Any, regs: Any, trapnr: int) -> int:
        print(
            f"fault_handler: trap {trapnr} at {regs.ip:#x}, pointer {regs.arg(0):#x}: not handled"
        )
        return 0

    def mend(p: Any, regs: Any, trapnr: int) -> int:
        print(f"fault_handler: trap {trapnr} at {regs.ip:#x}, pointer {regs.arg(0):#x}: mended")
        if k.arch == "x86_64":
            regs.di = word
        else:
            regs.x0 = word
        return 1  # handled: the instruction is executed again

    with k.probing("read_word", fault_handler=give_up):
        try:
            k.call("read_word", BAD_POINTER)
        except GuestFault as fault:
            print(fault)
    with k.probing("read_word", fault_handler=mend) as p:
        print(f"the call returns {k.call('read_word', BAD_POINTER)}, probed at {p.addr:#x}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except KprobesimError as error:
        sys.exit(f"{error}")
