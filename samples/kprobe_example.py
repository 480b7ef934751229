"""Probe the function that makes a process, and print where it was hit.

    python samples/kprobe_example.py [IMAGE [SYMBOL]]

SYMBOL is kernel_clone unless given; it was _do_fork before 5.10 and do_fork before 4.2.
"""

from __future__ import annotations

import struct
import sys
from ctypes import c_int
from pathlib import Path
from typing import Any

from kprobesim import Kernel, Kprobe, KprobesimError

SAMPLE = Path(__file__).with_name("guest-x86_64.elf")
CLONE_FS, CLONE_NEWNS, SIGCHLD = 0x200, 0x20000, 17


def handler_pre(p: Kprobe, regs: Any) -> None:
    print(f"pre_handler:  <{p.symbol_name}> {where(p, regs)}")


def handler_post(p: Kprobe, regs: Any, flags: int) -> None:
    print(f"post_handler: <{p.symbol_name}> {where(p, regs)}")


def handler_fault(p: Kprobe, regs: Any, trapnr: int) -> int:
    print(f"fault_handler: <{p.symbol_name}> trap {trapnr}, {where(p, regs)}")
    return 0  # not handled: the kernel's own fault handling goes on


def where(p: Kprobe, regs: Any) -> str:
    return f"addr = {p.addr:#x}, ip = {regs.ip:#x}, flags = {regs.flags:#x}"


def fork(k: Kernel) -> int:
    """Make a process. Only a booted kernel could: others are asked for what all refuse."""
    if "do_fork" in k.symbols:
        return k.call("do_fork", SIGCHLD, 0, 0, signed=True)
    args = struct.pack("<11Q", CLONE_NEWNS | CLONE_FS, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0)
    return c_int(k.call("kernel_clone", args)).value


def main(image: str = str(SAMPLE), symbol: str = "kernel_clone") -> None:
    k = Kernel.load(image)
    with k.probing(
        symbol,
        pre_handler=handler_pre,
        post_handler=handler_post,
        fault_handler=handler_fault,
    ) as kp:
        print(f"planted kprobe at {kp.addr:#x}")
        print(f"the new process has pid {fork(k)}")
    print(f"kprobe at {kp.addr:#x} unregistered")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except KprobesimError as error:
        sys.exit(f"{error}")
