/* The tracer's hook: each traced function begins with a call of it (see __mcount_loc). */
#include "linkage.h"
	.text
FUNC __fentry__
	ret
ENDFUNC __fentry__

/* A function whose first instruction marks it as a target of indirect branches: the tracer's
 * call is its second. endbr_entry(n) = n + 1. */
FUNC endbr_entry
	endbr64
1:	call __fentry__
	.pushsection __mcount_loc, "a"
	.quad 1b
	.popsection
	leaq 1(%rdi), %rax
	ret
ENDFUNC endbr_entry
