"""Numbers of the x86-64 probe code (asm/kprobes.h, asm/text-patching.h, asm/processor-flags.h)."""

from __future__ import annotations

from kprobesim.sizes import MASK64

INT3 = 0xCC
INT3_SIZE = 1
JMP32 = 0xE9
JMP32_SIZE = 5
CALL_SIZE = 5
MAX_INSN_LENGTH = 15
MAX_INSN_SIZE = 16  # of a slot
RSP = 4  # among the general registers

ENDBR_SIZE = 4
# ENDBR64, ENDBR32 (is_endbr() of asm/ibt.h takes both), and what the kernel writes over one that
# nobody needs: NOPL (%rax) with an operand-size prefix, since 6.18 NOPL -42(%rax).
ENDBRS = tuple(map(bytes.fromhex, ("f30f1efa", "f30f1efb", "660f1f00", "0f1f40d6")))


CF = 1 << 0
FIXED = 1 << 1
PF = 1 << 2
AF = 1 << 4
ZF = 1 << 6
SF = 1 << 7
TF = 1 << 8
IF = 1 << 9
DF = 1 << 10
OF = 1 << 11
IOPL = 3 << 12
NT = 1 << 14
RF = 1 << 16
VM = 1 << 17
AC = 1 << 18
VIF = 1 << 19
VIP = 1 << 20
ID = 1 << 21

# What POPF writes at privilege level 0, and what PUSHF shows (SDM volume 2, POPF and PUSHF).
POPF_WRITES = CF | PF | AF | ZF | SF | TF | IF | DF | OF | IOPL | NT | AC | ID
POPF_KEEPS = VM | VIF | VIP
PUSHF_SHOWS = MASK64 & ~(RF | VM)
