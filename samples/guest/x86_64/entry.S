/* Entry code: runs before the kernel's own state is set up, so no probe may sit in it. Nothing
 * here is ever called; the section is there for the rules that know it. */
#include "linkage.h"
	.section .entry.text, "ax"
FUNC asm_exc_breakpoint
	cld
	pushq $-1
	addq $8, %rsp
	iretq
ENDFUNC asm_exc_breakpoint

FUNC entry_SYSCALL_64
	swapgs
	sysretq
ENDFUNC entry_SYSCALL_64

	.text
/* The cold half of noprobe_listed(), which the compiler moved away: its name says where it is
 * from, and so it shares its fate. */
FUNC noprobe_listed.cold
	leaq 3(%rdi), %rax
	ret
ENDFUNC noprobe_listed.cold
