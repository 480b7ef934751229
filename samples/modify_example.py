"""A handler that changes a function's argument, and one that skips the function altogether.

python samples/modify_example.py [IMAGE]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kprobesim import Kernel, Kprobe, KprobesimError


def other_argument(p: Kprobe, regs: Any) -> int:
    print(f"pre_handler: argument {regs.arg(0)} becomes 10000")
    if hasattr(regs, "di"):
        regs.di = 10000
    else:
        regs.x0 = 10000
    return 0


def main(image: str = str(Path(__file__).parent / "guest-x86_64.elf")) -> None:
    k = Kernel.load(image)

    def skip(p: Kprobe, regs: Any) -> int:
        print(f"pre_handler: int_sqrt({regs.arg(0)}) is not executed")
        regs.return_value = 7
        if k.arch == "x86_64":  # do what RET does
            regs.ip = int.from_bytes(k.read(regs.sp, 8), "little")
            regs.sp += 8
        else:
            regs.pc = regs.x30
        return 1  # "I have set where to go on"

    print(f"int_sqrt(144) = {k.call('int_sqrt', 144)} without a probe")
    with k.probing("int_sqrt", pre_handler=other_argument):
        print(f"int_sqrt(144) = {k.call('int_sqrt', 144)} with another argument")
    with k.probing("int_sqrt", pre_handler=skip):
        print(f"int_sqrt(144) = {k.call('int_sqrt', 144)} skipped")
    print(f"int_sqrt(144) = {k.call('int_sqrt', 144)} without a probe")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except KprobesimError as error:
        sys.exit(f"{error}")
