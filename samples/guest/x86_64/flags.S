/* Flags: what pushes and pops them, and the one that holds interrupts back. */
#include "linkage.h"
	.text
/* irq_save_restore(x) = 4 * x + (2 if interrupts were on before) + 1: the flags pushed between
 * CLI and POPF must show interrupts off, and afterwards those of the caller are back. */
FUNC irq_save_restore
	pushfq
	cli
	pushfq
	popq %rax
	popfq
	pushfq
	popq %rcx
	shrq $9, %rax
	shrq $9, %rcx
	andl $1, %eax
	andl $1, %ecx
	xorl $1, %eax
	leaq (%rax,%rcx,2), %rax
	leaq (%rax,%rdi,4), %rax
	ret
ENDFUNC irq_save_restore

/* irq_enable(x) = x + 1 if the flags after STI show interrupts on; those of before come back. */
FUNC irq_enable
	pushfq
	sti
	nop
	pushfq
	popq %rax
	popfq
	btq $9, %rax
	setc %al
	movzbl %al, %eax
	addq %rdi, %rax
	ret
ENDFUNC irq_enable

/* flag_bits(a, b): the arithmetic flags after a - b, by LAHF, and with carry complemented. */
FUNC flag_bits
	xorl %eax, %eax
	cmpq %rsi, %rdi
	lahf
	cmc
	adcl $0, %eax
	stc
	adcl $0, %eax
	clc
	sbbl $0, %eax
	cld
	ret
ENDFUNC flag_bits
