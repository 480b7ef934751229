/* Instructions that address memory relative to their own place: out of line, the distance
 * changes, and it is not always the last thing in the instruction. */
#include "linkage.h"
	.data
	DATA rip_vector, 16
	.long 1, 2, 3, 4
	DATA rip_a, 8
	.quad 0
	DATA rip_b, 8
	.quad 0
	DATA rip_c, 4
	.long 0
	DATA rip_h, 2
	.short 0
	DATA rip_flag, 1
	.byte 0
	DATA rip_function, 8
	.quad rip_double

	.text
/* rip_relative(x, y): a number that every instruction below had a part in. All state is set anew,
 * so equal arguments give equal results. */
FUNC rip_relative
	movq %rdi, rip_a(%rip)
	movq %rsi, rip_b(%rip)
	movl $0x01020304, rip_c(%rip)		/* distance, then imm32 */
	movw $0x0506, rip_h(%rip)		/* distance, then imm16 */
	movb $7, rip_flag(%rip)			/* distance, then imm8 */
	movq rip_a(%rip), %rax
	leaq rip_a(%rip), %rcx
	addq (%rcx), %rax
	addq rip_b(%rip), %rax
	addq $0x1234567, rip_a(%rip)
	addl $5, rip_c(%rip)
	subw $0x100, rip_h(%rip)
	cmpb $7, rip_flag(%rip)
	sete %dl
	movzbl %dl, %edx
	addq %rdx, %rax
	movzbl rip_flag(%rip), %edx
	addq %rdx, %rax
	movswq rip_h(%rip), %rdx
	addq %rdx, %rax
	movl $9, %edx
	lock xaddq %rdx, rip_a(%rip)
	addq %rdx, %rax
	imulq $3, rip_b(%rip), %r8
	addq %r8, %rax
	imull $1000, rip_c(%rip), %r8d
	xorq %r8, %rax
	testl $4, rip_c(%rip)
	setnz %r9b
	movzbl %r9b, %r9d
	addq %r9, %rax
	xchgq %rax, rip_b(%rip)
	addq rip_b(%rip), %rax
	pushq rip_a(%rip)
	popq rip_b(%rip)
	notq rip_b(%rip)
	shll $2, rip_c(%rip)
	incl rip_c(%rip)
	movl rip_c(%rip), %r10d
	subq %r10, %rax
	cmpq %rax, rip_b(%rip)
	cmovgq rip_b(%rip), %rax
	ret
ENDFUNC rip_relative

/* rip_call(x) = 4 * x, through a pointer next to the code: a call, then a jump. */
FUNC rip_call
	call *rip_function(%rip)
	movq %rax, %rdi
	jmp *rip_function(%rip)
ENDFUNC rip_call

FUNC rip_double
	leaq (%rdi,%rdi), %rax
	ret
ENDFUNC rip_double

/* rip_vector_sum(x) = 4 * x + 10, in SSE registers. */
FUNC rip_vector_sum
	movd %edi, %xmm0
	pshufd $0, %xmm0, %xmm0
	paddd rip_vector(%rip), %xmm0
	pshufd $0x4e, %xmm0, %xmm1
	paddd %xmm1, %xmm0
	pshufd $0xb1, %xmm0, %xmm1
	paddd %xmm1, %xmm0
	movd %xmm0, %eax
	ret
ENDFUNC rip_vector_sum
