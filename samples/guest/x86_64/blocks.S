/* String instructions: one instruction, many memory accesses. */
#include "linkage.h"
	.text
/* rep_copy(dst, src, n): dst */
FUNC rep_copy
	movq %rdi, %rax
	movq %rdx, %rcx
	rep movsb
	ret
ENDFUNC rep_copy

/* rep_fill(dst, word, n): n 64-bit words; the address behind them */
FUNC rep_fill
	movq %rsi, %rax
	movq %rdx, %rcx
	rep stosq
	movq %rdi, %rax
	ret
ENDFUNC rep_fill

/* rep_equal(a, b, n): 1 if n bytes are the same (also when n is 0) */
FUNC rep_equal
	movq %rdx, %rcx
	cmpq %rcx, %rcx
	repe cmpsb
	sete %al
	movzbl %al, %eax
	ret
ENDFUNC rep_equal

/* scan_length(s): the length of a string */
FUNC scan_length
	xorl %eax, %eax
	movq $-1, %rcx
	repne scasb
	notq %rcx
	leaq -1(%rcx), %rax
	ret
ENDFUNC scan_length

/* upper_case(dst, src): copies a string in capitals, a byte at a time; its length */
FUNC upper_case
	movq %rdi, %rdx
1:	lodsb
	leal -'a'(%rax), %ecx
	cmpb $26, %cl
	jae 2f
	subb $32, %al
2:	stosb
	testb %al, %al
	jnz 1b
	leaq -1(%rdi), %rax
	subq %rdx, %rax
	ret
ENDFUNC upper_case
