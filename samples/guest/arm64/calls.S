/* Calls, jumps and returns of every kind. */
#include "linkage.h"
	.text
/* calls(x) = 4 * x + 5 */
FUNC calls
	stp x29, x30, [sp, #-32]!
	mov x29, sp
	stp x19, x20, [sp, #16]
	mov x19, x0
	bl add_one			/* relative */
	mov x20, x0
	adr x9, add_one
	mov x0, x19
	blr x9				/* through a register */
	add x20, x20, x0
	adr x30, add_one
	mov x0, x19
	blr x30				/* through the very register that the call writes */
	add x20, x20, x0
	adr x10, 1f
	mov x0, x19
	br x10				/* an indirect jump */
	brk #0x800
1:	add x20, x20, x0
	mov x0, xzr
	bl return_by_x9
	add x0, x0, x20
	ldp x19, x20, [sp, #16]
	ldp x29, x30, [sp], #32
	ret
ENDFUNC calls

FUNC add_one
	add x0, x0, #1
	ret
ENDFUNC add_one

/* return_by_x9(x) = x + 2, and not by the usual register */
FUNC return_by_x9
	mov x9, x30
	add x0, x0, #2
	ret x9
ENDFUNC return_by_x9

/* tail_call(x) = x + 1, by a jump out of the function. */
FUNC tail_call
	b add_one
ENDFUNC tail_call

/* landing_pad(x) = x + 1: begins with the mark of a target of indirect calls. */
FUNC landing_pad
	bti c
	add x0, x0, #1
	ret
ENDFUNC landing_pad

/* signed_return(x) = x + 2: the return address is signed on the way in, checked on the way out. */
FUNC signed_return
	paciasp
	stp x29, x30, [sp, #-16]!
	mov x29, sp
	bl add_one
	bl add_one
	ldp x29, x30, [sp], #16
	autiasp
	ret
ENDFUNC signed_return
