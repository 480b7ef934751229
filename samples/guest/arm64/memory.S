/* Loads and stores in every addressing mode. */
#include "linkage.h"
	.text
/* addressing(x, y) = 3 * x + 2 * y + (low byte of x) + (low half of y, signed) */
FUNC addressing
	sub sp, sp, #32
	mov x9, sp
	stp x0, x1, [x9], #16		/* then move on */
	stp x1, x0, [x9, #-16]!		/* first move on: writes over the pair above */
	ldp x2, x3, [sp]		/* y, x */
	str x2, [x9, #24]
	ldr x4, [x9, #8]!		/* x */
	ldr x5, [x9], #8		/* x */
	mov x6, #1
	ldr x7, [x9, x6, lsl #3]	/* y */
	ldur x8, [x9, #-8]		/* x */
	ldrb w10, [x9, #-8]
	ldrsh x11, [x9, #8]
	add x0, x4, x5
	add x0, x0, x7
	add x0, x0, x2
	sub x0, x0, x3
	add x0, x0, x8
	add x0, x0, x10
	add x0, x0, x11
	add x0, x0, x3
	add sp, sp, #32
	ret
ENDFUNC addressing

/* pair_copy(dst, src, n): n pairs of 64-bit words; the address behind them */
FUNC pair_copy
	cbz x2, 2f
1:	ldp x3, x4, [x1], #16
	stp x3, x4, [x0], #16
	subs x2, x2, #1
	b.ne 1b
2:	ret
ENDFUNC pair_copy
