"""Which instructions of x86-64 wait until others see what was stored before."""

from __future__ import annotations

import pytest

from kprobesim.arch.ordering import Ordering
from kprobesim.arch.x86_64.ordering import ordering

FULL, PLAIN = Ordering.FULL, Ordering.PLAIN
LOCKED = Ordering.ATOMIC | Ordering.FULL


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("f0ff07", LOCKED),  # lock inc dword [rdi]
        ("3eff07", LOCKED),  # where one CPU alone has no LOCK
        ("3e48ff0f", LOCKED),  # dec qword [rdi]
        ("f0480fb117", LOCKED),  # lock cmpxchg [rdi], rdx
        ("3e480fc107", LOCKED),  # xadd
        ("8707", LOCKED),  # xchg [rdi], eax
        ("87c8", PLAIN),  # xchg eax, ecx
        ("3effd0", PLAIN),  # notrack call rax
        ("3eff20", PLAIN),  # notrack jmp [rax]
        ("ff07", PLAIN),
        ("830f05", PLAIN),  # or dword [rdi], 5
        ("830424f0", PLAIN),  # add dword [rsp], -16
        ("f083042400", LOCKED),  # lock add dword [rsp], 0: smp_mb()
        ("0faef0", FULL),  # mfence
        ("0faee8", PLAIN),  # lfence: the stores stay where they are
        ("0faef8", Ordering.STORES),  # sfence
        ("0fae38", PLAIN),  # clflush
        ("0fa2", FULL),  # cpuid
        ("48cf", FULL),  # iretq
        ("0f30", FULL),  # wrmsr
        ("0f22d8", FULL),  # mov cr3, rax
        ("0f20d8", PLAIN),  # mov rax, cr3
        ("0f0138", FULL),  # invlpg [rax]
        ("0f01f8", PLAIN),  # swapgs
        ("0f01e8", FULL),  # serialize
        ("0f00d8", FULL),  # ltr ax
        ("0f00c8", PLAIN),  # str eax
        ("ee", FULL),  # out dx, al
        ("0fc307", Ordering.STREAMING),  # movnti [rdi], eax
        ("660fe707", Ordering.STREAMING),  # movntdq [rdi], xmm0
        ("0f2907", PLAIN),  # movaps [rdi], xmm0
        ("50", PLAIN),  # push rax
        ("f3aa", PLAIN),  # rep stosb
        ("0f0b", PLAIN),  # ud2
        ("06", PLAIN),  # nothing
    ],
)
def test_what_order_an_instruction_makes(code: str, expected: Ordering) -> None:
    assert ordering(bytes.fromhex(code)) == expected
