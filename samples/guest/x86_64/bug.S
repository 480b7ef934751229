/* BUG and WARN: an undefined instruction on purpose, and a table that tells what it means. */
#include "linkage.h"
	.section .rodata.str, "aMS", @progbits, 1
file:	.asciz "samples/guest/x86_64/bug.S"

	.text
/* trigger_bug(n): never comes back */
FUNC trigger_bug
1:	ud2
	BUG_ENTRY 1b, file, __LINE__, 0
ENDFUNC trigger_bug

/* bug_on(n) = n + 1; n other than 0 is a bug */
FUNC bug_on
	testq %rdi, %rdi
	jnz 1f
	movl $1, %eax
	ret
1:	ud2
	BUG_ENTRY 1b, file, __LINE__, 0
ENDFUNC bug_on

/* warn_if(n) = n + 1, with a warning on the way when n is not 0 */
FUNC warn_if
	testq %rdi, %rdi
	jz 2f
1:	ud2
	BUG_ENTRY 1b, file, __LINE__, 1
2:	leaq 1(%rdi), %rax
	ret
ENDFUNC warn_if

/* Where a function goes that finds its stack canary dead. */
FUNC __stack_chk_fail
1:	ud2
	BUG_ENTRY 1b, file, __LINE__, 0
ENDFUNC __stack_chk_fail
