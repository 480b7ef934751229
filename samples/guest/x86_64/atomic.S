/* Read, change, write, as one. */
#include "linkage.h"
	.text
/* atomic_add_return(v, p): adds v to *p and returns the sum; tries until no one else wrote. */
FUNC atomic_add_return
	movq (%rsi), %rax
1:	leaq (%rax,%rdi), %rcx
	lock cmpxchgq %rcx, (%rsi)
	jne 1b
	movq %rcx, %rax
	ret
ENDFUNC atomic_add_return
