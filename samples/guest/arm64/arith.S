/* Arithmetic one C line would not show: conditions without branches, the carry, bit fields. */
#include "linkage.h"
	.text
/* divide(a, b) = a / b, unsigned; b = 0 gives 0 and no fault. */
FUNC divide
	udiv x0, x0, x1
	ret
ENDFUNC divide

/* remainder(a, b) = a % b, signed */
FUNC remainder
	sdiv x2, x0, x1
	msub x0, x2, x1, x0
	ret
ENDFUNC remainder

/* mul_high(a, b): the upper 64 bits of the product */
FUNC mul_high
	umulh x0, x0, x1
	ret
ENDFUNC mul_high

/* add128(sum[2], addend[2]): sum += addend over two words; the carry out */
FUNC add128
	ldp x2, x3, [x0]
	ldp x4, x5, [x1]
	adds x2, x2, x4
	adcs x3, x3, x5
	stp x2, x3, [x0]
	cset x0, cs
	ret
ENDFUNC add128

/* selects(a, b): the larger (signed) * 8 + the smaller, then one more for each of: a == b,
 * both odd */
FUNC selects
	cmp x0, x1
	csel x2, x0, x1, gt
	csel x3, x0, x1, le
	mov x4, #8
	madd x2, x2, x4, x3
	cinc x2, x2, eq
	tst x0, #1
	ccmp x1, #0, #4, ne		/* not odd: flags of "equal" */
	b.eq 1f
	tst x1, #1
	csinc x2, x2, x2, eq
1:	mov x0, x2
	ret
ENDFUNC selects

/* shuffle_bits(x, n) */
FUNC shuffle_bits
	ror x2, x0, x1
	rbit x3, x2
	rev x4, x2
	eor x2, x3, x4
	clz x3, x0
	add x2, x2, x3
	ubfx x3, x0, #7, #13
	bfi x2, x3, #20, #13
	extr x3, x0, x2, #17
	bic x2, x2, x3, lsr #5
	lsl x3, x0, x1
	orn x2, x2, x3
	sbfx x3, x0, #3, #9
	cmp x0, x1
	csneg x2, x2, x3, ne
	movz x4, #0x7c15
	movk x4, #0x7f4a, lsl #16
	movk x4, #0x79b9, lsl #32
	movk x4, #0x9e37, lsl #48
	add x0, x2, x4
	ret
ENDFUNC shuffle_bits
