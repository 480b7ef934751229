/* Instructions that address memory relative to their own place. */
#include "linkage.h"
	.data
	DATA literal_word, 8
	.quad 0

	.text
/* literal_loads(x): x plus constants loaded from next to the code in every size. */
FUNC literal_loads
	ldr x1, 1f
	add x0, x0, x1
	ldr w1, 2f			/* upper half becomes 0 */
	add x0, x0, x1
	ldrsw x1, 2f			/* upper half becomes the sign */
	sub x0, x0, x1, lsl #1
	prfm pldl1keep, 1f
	ldr d0, 1f
	fmov x1, d0
	eor x0, x0, x1
	ret
	.balign 8
1:	.quad 0x0123456789abcdef
2:	.long 0xfffffff0
	.long 0
ENDFUNC literal_loads

/* addresses(x): stores x by an address of two parts and loads it back by one near enough for
 * one; 2 * x + (distance from a label to the next) */
FUNC addresses
	adrp x1, literal_word
	add x1, x1, :lo12:literal_word
	str x0, [x1]
	adrp x2, literal_word
	ldr x2, [x2, :lo12:literal_word]
	add x0, x0, x2
1:	adr x1, 1b
	adr x2, 2f
	sub x2, x2, x1
	add x0, x0, x2
2:	ret
ENDFUNC addresses
