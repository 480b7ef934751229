"""Where the kernel's functions of system calls are: ``sys_call_table``."""

from __future__ import annotations

from kprobesim.arch.architecture import architecture, halves
from kprobesim.image import KernelImage
from kprobesim.inside.code_addresses import handed_on

__all__ = ["syscall_table"]

_TABLE = "sys_call_table"
_MOST = 640  # more than any architecture has
#: Who hands the table on, arch/arm64/kernel/syscall.c: ARM64 kernels before 6.4 name no data.
_USERS = halves(x86_64=(), arm64=("do_el0_svc",))


def syscall_table(image: KernelImage) -> tuple[int, ...]:
    """The addresses of the functions, by number; empty where nobody tells where the table is.

    Args:
        image: The kernel.
    """
    symbols = image.symbols
    table = symbols.get(_TABLE)
    if table is not None:
        whole = symbols.at(table.address)
        size = 0 if whole is None or whole.size is None else min(whole.size & -8, 8 * _MOST)
        return _words(image, table.address, size)
    for user in _USERS[image.arch]:
        for address in handed_on(image, user):
            if image.contains(address) and image.contains(address + 8 * _MOST - 1):
                found = _calls(image, _words(image, address, 8 * _MOST))
                if found:
                    return found
    return ()


def _words(image: KernelImage, address: int, size: int) -> tuple[int, ...]:
    return tuple(memoryview(image.read(address, size)).cast("Q"))


def _calls(image: KernelImage, words: tuple[int, ...]) -> tuple[int, ...]:
    """The words up to the first that is no function of a system call."""
    prefix = architecture(image.arch).syscall_prefix
    for count, word in enumerate(words):
        found = image.symbols.at(word)
        if found is None or found.offset or not found.symbol.name.startswith(prefix):
            return words[:count]
    return words
