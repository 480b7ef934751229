"""What drgn's helpers see of a booted guest, compared with the guest's own /proc.

    scripts/compare_drgn.py IMAGE [--debug VMLINUX] [--module NAME]...

Tasks, modules, mounts and interrupts, by BTF and symbols alone or with DWARF. What the guest says
is read by its shell without starting a process, interrupts as it counts them while it prints.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any

from drgn import Program, container_of
from drgn.helpers.linux.fs import for_each_mount, mount_dst, mount_fstype, mount_src
from drgn.helpers.linux.irq import for_each_irq_desc, irq_desc_action_names, irq_desc_kstat_cpu
from drgn.helpers.linux.module import for_each_module, module_address_regions
from drgn.helpers.linux.pid import find_task, for_each_task

from kprobesim import BootedKernel, PtRegs
from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.shell import Shell
from kprobesim.boot.initramfs import Entry, regular_file
from kprobesim.image.modules.package import ModulePackage

_TIMEOUT = 120.0
_SETTLING = 2.0  # of the guest's seconds: threads of the boot end
_COMM = 15
_KERNEL_HALF = 1 << 63
#: /proc tells of a kworker what it works on, too (fs/proc/array.c, wq_worker_comm()).
_WORKER = re.compile(r"^(kworker/u?\d+:\d+H?)[-+].*$")
Rows = set[tuple[Any, ...]]


def _lines(shell: Shell, file: str) -> list[list[str]]:
    """The words of the lines of a file, by the shell alone."""
    status, said = shell.run(f'while read -r l; do echo "$l"; done < {file}', _TIMEOUT)
    assert status == 0, said
    return [line.split() for line in said.splitlines()]


def guest_tasks(shell: Shell) -> Rows:
    """Number, parent and name of each process and thread."""
    _, said = shell.run(
        'for d in /proc/[0-9]*/task/[0-9]*; do read -r s < $d/stat; echo "$s"; done', _TIMEOUT
    )
    found: Rows = set()
    for match in re.finditer(r"^(\d+) \((.*)\) \S (\d+) ", said, re.MULTILINE):
        number, name, parent = match.groups()
        found.add((int(number), int(parent), _WORKER.sub(r"\1", name)[:_COMM]))
    return found


def drgn_tasks(prog: Program) -> Rows:
    """The same."""
    return {
        (task.pid.value_(), task.real_parent.tgid.value_(), task.comm.string_().decode())
        for task in for_each_task(prog)
    }


def guest_modules(shell: Shell) -> Rows:
    """Name, users and address of each module."""
    return {(words[0], words[2], int(words[5], 16)) for words in _lines(shell, "/proc/modules")}


def drgn_modules(prog: Program) -> Rows:
    """The same; the kernel holds one reference itself."""
    return {
        (
            module.name.string_().decode(),
            str(module.refcnt.counter.value_() - 1),
            module_address_regions(module)[0][0],
        )
        for module in for_each_module(prog)
    }


def guest_mounts(shell: Shell) -> Rows:
    """Device, directory and file system of each mount."""
    return {tuple(words[:3]) for words in _lines(shell, "/proc/mounts")}


def drgn_mounts(prog: Program) -> Rows:
    """The same: what init sees from its root directory."""
    root = container_of(find_task(prog, 1).fs.root.mnt, "struct mount", "mnt")
    return {
        (mount_src(each).decode(), mount_dst(each).decode(), mount_fstype(each).decode())
        for each in for_each_mount(prog)
        if _is_below(each, root)
    }


def _is_below(mount: Any, root: Any) -> bool:
    while mount != root and mount != mount.mnt_parent:
        mount = mount.mnt_parent
    return bool(mount == root)


def interrupts(k: BootedKernel, shell: Shell, prog: Program) -> tuple[Rows, Rows]:
    """Number, count on CPU 0 and last handler of each interrupt: the guest's and drgn's.

    Each is looked at when the guest prints it, as they go on being counted.
    """
    descriptors = dict(for_each_irq_desc(prog))
    seen: Rows = set()
    by_number = "show_interrupts" in k.symbols  # newer kernels hand descriptors on

    def look(_p: object, regs: PtRegs) -> None:
        if regs.arg(1) < _KERNEL_HALF:  # the line of headings
            return
        if by_number:
            number = int(k.typed(regs.arg(1), "loff_t *")[0])
        else:
            number = int(k.typed(regs.arg(1), "struct irq_desc *").irq_data.irq)
        desc = descriptors.get(number)
        if desc is None or desc.status_use_accessors & prog.constant("IRQ_HIDDEN"):
            return
        names = irq_desc_action_names(desc)
        if names:
            seen.add((number, irq_desc_kstat_cpu(desc, 0), names[-1].decode()))

    with k.probing("show_interrupts" if by_number else "irq_seq_show", pre_handler=look):
        lines = _lines(shell, "/proc/interrupts")
    numbered = [words for words in lines if words and words[0].rstrip(":").isdigit()]
    return {(int(w[0].rstrip(":")), int(w[1]), w[-1]) for w in numbered}, seen


def differences(k: BootedKernel, prog: Program) -> dict[str, tuple[Rows, Rows]]:
    """What the guest alone says, and what drgn alone says, by the name of the command."""
    shell = Shell(k)
    k.run(seconds=_SETTLING, timeout=_TIMEOUT)
    found = {
        "ps": (guest_tasks(shell), drgn_tasks(prog)),
        "lsmod": (guest_modules(shell), drgn_modules(prog)),
        "mount": (guest_mounts(shell), drgn_mounts(prog)),
        "irq": interrupts(k, shell, prog),
    }
    assert all(guest for name, (guest, _) in found.items() if name != "lsmod")
    return {name: (guest - drgn, drgn - guest) for name, (guest, drgn) in found.items()}


def main() -> int:
    """Compare, and say where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, help="a kernel, or a snapshot of one with our shell")
    parser.add_argument("--debug", type=Path, help="its vmlinux with DWARF, or the -dbg package")
    parser.add_argument("--module", action="append", default=[], help="is loaded by the guest")
    asked = parser.parse_args()
    files: dict[str, bytes | Entry] = {}
    for name in asked.module:
        found = ModulePackage(asked.image).find(name)
        assert found is not None, f"{asked.image} has no module {name}"
        files[f"{name}.ko"] = regular_file(bytes(found.data))
    k = booted_kernel(asked.image, files)
    for name in asked.module:
        assert Shell(k).run(f"insmod /{name}.ko", _TIMEOUT)[0] == 0, name
    start = time.perf_counter()
    prog = k.drgn(asked.debug)
    print(f"{k.version} {k.arch}: {time.perf_counter() - start:.2f} s to make the program")
    failed = 0
    for name, (guest, drgn) in differences(k, prog).items():
        failed += bool(guest or drgn)
        print(f"  {name:6}", "equal" if not (guest or drgn) else f"guest {guest}, drgn {drgn}")
    print(f"  {time.perf_counter() - start:.2f} s in all")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
