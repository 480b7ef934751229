/* Every conditional branch the processor has. */
#include "linkage.h"
	.text
.macro TRY number, cc
	b.\cc 1f
	b 2f
1:	orr x2, x2, #(1 << \number)
2:
.endm

/* branches(a, b): bit n tells whether the branch with condition number n was taken after
 * comparing a with b (64 bits). Conditions 14 and 15 both mean "always". */
FUNC branches
	mov x2, xzr
	cmp x0, x1
	TRY 0, eq
	TRY 1, ne
	TRY 2, hs
	TRY 3, lo
	TRY 4, mi
	TRY 5, pl
	TRY 6, vs
	TRY 7, vc
	TRY 8, hi
	TRY 9, ls
	TRY 10, ge
	TRY 11, lt
	TRY 12, gt
	TRY 13, le
	TRY 14, al
	TRY 15, nv
	mov x0, x2
	ret
ENDFUNC branches

/* One bit of x0, asked for in both ways: bit number of x1 when TBNZ jumped, and of x2 when TBZ
 * did not. */
.macro TEST number, register, bit
	tbnz \register, #\bit, 1f
	b 2f
1:	orr x1, x1, #(1 << \number)
2:	tbz \register, #\bit, 3f
	orr x2, x2, #(1 << \number)
3:
.endm

/* test_bits(x): bits 0, 1, 31, 32, 47, 62 and 63 of x, gathered in the lowest seven, twice;
 * bits 14 to 17: x == 0 and x != 0 over 64 bits, then over 32 */
FUNC test_bits
	mov x1, xzr
	mov x2, xzr
	TEST 0, w0, 0
	TEST 1, w0, 1
	TEST 2, w0, 31
	TEST 3, x0, 32
	TEST 4, x0, 47
	TEST 5, x0, 62
	TEST 6, x0, 63
	orr x1, x1, x2, lsl #7
	cbz x0, 4f
	b 5f
4:	orr x1, x1, #(1 << 14)
5:	cbnz x0, 6f
	b 7f
6:	orr x1, x1, #(1 << 15)
7:	cbz w0, 8f
	b 9f
8:	orr x1, x1, #(1 << 16)
9:	cbnz w0, 10f
	b 11f
10:	orr x1, x1, #(1 << 17)
11:	mov x0, x1
	ret
ENDFUNC test_bits
