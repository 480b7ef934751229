/* Calls, jumps and returns of every kind, and the stack. */
#include "linkage.h"
	.text
/* calls(x) = 5 * x + 31 */
FUNC calls
	pushq %rbp
	movq %rsp, %rbp
	pushq %rbx
	pushq %r12
	movq %rdi, %rbx
	xorl %r12d, %r12d
	call add_one				/* relative */
	addq %rax, %r12
	leaq add_one(%rip), %rax
	movq %rbx, %rdi
	call *%rax				/* through a register */
	addq %rax, %r12
	leaq add_one(%rip), %r11
	movq %rbx, %rdi
	call *%r11				/* through a register that needs a REX prefix */
	addq %rax, %r12
	leaq add_one(%rip), %rax
	pushq %rax
	movq %rbx, %rdi
	call *(%rsp)				/* through memory, which the call itself moves */
	addq $8, %rsp
	addq %rax, %r12
	pushq $20				/* two arguments on the stack ... */
	pushq $7
	call stack_sum				/* ... that the callee takes off */
	addq %rax, %r12
	leaq 1f(%rip), %r11
	movq %rbx, %rdi
	jmp *%r11				/* an indirect jump */
	ud2
1:	addq %rdi, %r12
	movq %r12, %rax
	popq %r12
	popq %rbx
	leave
	ret
ENDFUNC calls

FUNC add_one
	leaq 1(%rdi), %rax
	ret
ENDFUNC add_one

FUNC stack_sum
	movq 8(%rsp), %rax
	addq 16(%rsp), %rax
	ret $16
ENDFUNC stack_sum

/* tail_call(x) = x + 1, by a jump out of the function. */
FUNC tail_call
	jmp add_one
ENDFUNC tail_call

/* stack_moves(x) = 2 * x + 3: values that only ever pass through the stack. */
FUNC stack_moves
	pushq %rdi
	pushq $-2				/* imm8, sign extended */
	pushq $0x12345678			/* imm32 */
	popq %rax
	popq %rcx
	subq $0x12345678 - 5, %rax
	addq %rcx, %rax
	addq %rax, (%rsp)			/* x + 3 */
	popq %rdx
	pushq %rsp				/* the stack pointer as it was ... */
	popq %rcx
	cmpq %rsp, %rcx				/* ... and is again */
	jne 1f
	enter $16, $0
	movq %rdi, -8(%rbp)
	addq -8(%rbp), %rdx
	leave
	movq %rdx, %rax
	ret
1:	ud2
ENDFUNC stack_moves
