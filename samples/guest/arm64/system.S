/* System registers, barriers, and the flags that hold interrupts back. */
#include "linkage.h"
	.text
/* current_el(): the exception level, 1 in a kernel */
FUNC current_el
	mrs x0, currentel
	lsr x0, x0, #2
	ret
ENDFUNC current_el

/* irq_save_restore(x) = 4 * x + (2 if interrupts were on before) + 1: between them the mask must
 * be set, and afterwards the caller's is back. */
FUNC irq_save_restore
	mrs x1, daif
	msr daifset, #2
	mrs x2, daif
	msr daif, x1
	mrs x3, daif
	ubfx x2, x2, #7, #1
	ubfx x3, x3, #7, #1
	eor x3, x3, #1
	add x2, x2, x3, lsl #1
	add x0, x2, x0, lsl #2
	ret
ENDFUNC irq_save_restore

/* flag_bits(a, b): N, Z, C and V after a - b; setting them anew does not change them */
FUNC flag_bits
	cmp x0, x1
	mrs x0, nzcv
	msr nzcv, xzr
	msr nzcv, x0
	mrs x0, nzcv
	lsr x0, x0, #28
	ret
ENDFUNC flag_bits

/* barriers(x) = x */
FUNC barriers
	dmb ish
	dsb ish
	isb
	yield
	nop
	ret
ENDFUNC barriers
