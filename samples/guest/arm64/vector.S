/* Vectors and floating point: registers that a probe's handler must leave alone. */
#include "linkage.h"
	.arch armv8-a+simd
	.text
/* vector_add(dst, a, b): four 32-bit sums */
FUNC vector_add
	ld1 {v0.4s}, [x1]
	ld1 {v1.4s}, [x2]
	add v0.4s, v0.4s, v1.4s
	st1 {v0.4s}, [x0]
	ret
ENDFUNC vector_add

/* float_square(x) = x * x, signed, in floating point */
FUNC float_square
	scvtf d0, x0
	fmul d0, d0, d0
	fcvtzs x0, d0
	ret
ENDFUNC float_square
