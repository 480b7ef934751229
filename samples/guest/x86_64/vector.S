/* Floating point and vectors: registers that a probe's handler must leave alone. */
#include "linkage.h"
	.text
/* vector_add(dst, a, b): four 32-bit sums */
FUNC vector_add
	movdqu (%rsi), %xmm0
	movdqu (%rdx), %xmm1
	paddd %xmm1, %xmm0
	movdqu %xmm0, (%rdi)
	ret
ENDFUNC vector_add

/* x87_square(x) = x * x, signed, on the floating-point stack */
FUNC x87_square
	pushq %rdi
	fildq (%rsp)
	fld %st(0)
	fmulp
	fistpq (%rsp)
	popq %rax
	ret
ENDFUNC x87_square
