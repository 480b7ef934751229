/* Arithmetic one C line would not show: the carry, double width, bits moved about. */
#include "linkage.h"
	.text
/* divide(a, b) = a / b, unsigned; b = 0 is a divide error, vector 0. */
FUNC divide
	movq %rdi, %rax
	xorl %edx, %edx
	divq %rsi
	ret
ENDFUNC divide

/* remainder(a, b) = a % b, signed */
FUNC remainder
	movq %rdi, %rax
	cqto
	idivq %rsi
	movq %rdx, %rax
	ret
ENDFUNC remainder

/* mul_high(a, b): the upper 64 bits of the product */
FUNC mul_high
	movq %rdi, %rax
	mulq %rsi
	movq %rdx, %rax
	ret
ENDFUNC mul_high

/* add128(sum[2], addend[2]): sum += addend over two words; the carry out */
FUNC add128
	movq (%rsi), %rax
	movq 8(%rsi), %rdx
	addq %rax, (%rdi)
	adcq %rdx, 8(%rdi)
	sbbq %rax, %rax
	negq %rax
	ret
ENDFUNC add128

/* shuffle_bits(x, n): shifts and rotations by constants, by CL, and through the carry */
FUNC shuffle_bits
	movq %rdi, %rax
	movl %esi, %ecx
	rolq %cl, %rax
	rorq $7, %rax
	bswapq %rax
	movq %rax, %rdx
	shlq $3, %rdx
	shrq %cl, %rax
	sarq %rdx
	xorq %rdx, %rax
	shldq $5, %rdi, %rax
	shrdq %cl, %rdi, %rax
	stc
	rclq $1, %rax
	clc
	rcrq $1, %rax
	btcq $17, %rax
	btsq $3, %rax
	btrq $60, %rax
	bsfq %rax, %rdx
	addq %rdx, %rax
	bsrq %rax, %rdx
	xorq %rdx, %rax
	xchgq %rax, %rdi
	xorq %rdi, %rax
	movabsq $0x9e3779b97f4a7c15, %rdx
	addq %rdx, %rax
	ret
ENDFUNC shuffle_bits
