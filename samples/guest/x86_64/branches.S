/* Every conditional branch the processor has. */
#include "linkage.h"
	.text
/* One condition (its number, as in the opcode) in both lengths: bit \number of the result tells
 * whether the two-byte form jumped, bit 16 + \number the six-byte form. LEA and MOV keep flags. */
.macro TRY number
	movl $(1 << \number), %edx
	movl $(1 << (16 + \number)), %ecx
	.byte 0x70 + \number, 2f - 1f		/* j<cc>, distance of 8 bits */
1:	jmp 3f
2:	leaq (%rax,%rdx), %rax
3:	.byte 0x0f, 0x80 + \number		/* j<cc>, distance of 32 bits */
	.long 5f - 4f
4:	jmp 6f
5:	leaq (%rax,%rcx), %rax
6:
.endm

/* branches(a, b): the conditions that hold after comparing a with b (64 bits). */
FUNC branches
	xorl %eax, %eax
	cmpq %rsi, %rdi
	TRY 0
	TRY 1
	TRY 2
	TRY 3
	TRY 4
	TRY 5
	TRY 6
	TRY 7
	TRY 8
	TRY 9
	TRY 10
	TRY 11
	TRY 12
	TRY 13
	TRY 14
	TRY 15
	ret
ENDFUNC branches

/* loops(n): n turns (n > 0) of each of the counted branches. */
FUNC loops
	xorl %eax, %eax
	movq %rdi, %rcx
1:	incq %rax
	loop 1b					/* until the count is 0 */
	movq %rdi, %rcx
2:	addq $2, %rax
	cmpq %rax, %rax
	loope 2b				/* ... while equal */
	movq %rdi, %rcx
3:	addq $4, %rax
	testq %rsp, %rsp
	loopne 3b				/* ... while not */
	movq %rdi, %rcx
4:	jrcxz 5f
	addq $8, %rax
	decq %rcx
	jmp 4b
5:	jecxz 6f				/* with an address-size prefix */
	ud2
6:	ret
ENDFUNC loops

/* conditions(a, b): the same 16 conditions by SETcc, one bit each; in the high half the distance
 * between the two, from the smaller and the larger by CMOVcc. */
.macro SET cc
	set\cc %dl
	movzbl %dl, %edx
	leaq (%rax,%rax), %rax
	leaq (%rax,%rdx), %rax
.endm
FUNC conditions
	movl $0, %eax
	cmpq %rsi, %rdi
	SET g
	SET le
	SET ge
	SET l
	SET np
	SET p
	SET ns
	SET s
	SET a
	SET be
	SET ne
	SET e
	SET ae
	SET b
	SET no
	SET o
	movq %rdi, %r8
	movq %rdi, %r9
	cmovgq %rsi, %r8
	cmovlq %rsi, %r9
	subq %r8, %r9				/* their distance */
	shlq $32, %r9
	orq %r9, %rax
	ret
ENDFUNC conditions
