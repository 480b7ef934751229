/* Accesses that may fault, and the table that says where to go on when they do.
 * An entry of Linux 6.1: the instruction, its fixup, and what else to do, in the low byte of the
 * third word (arch/x86/include/asm/extable_fixup_types.h). */
#include "linkage.h"
#define EX_DEFAULT	1	/* go on at the fixup */
#define EX_UACCESS	3	/* the same, for an access to user memory */
#define EX_IMM_REG	17	/* first put a number into a register */
#define RAX		0	/* registers by their number in an instruction */
#define EFAULT		14
#define EX_DATA(type, register, number) \
	((type) | ((register) << 8) | (((number) & 0xffff) << 16))

.macro EX_ENTRY at, fixup, data
	.pushsection __ex_table, "a"
	.balign 4
	.long \at - .
	.long \fixup - .
	.long \data
	.popsection
.endm

	.text
/* probe_read(dst, src, len): copies byte by byte; 0, or -EFAULT at the first bad address of src */
FUNC probe_read
	xorl %eax, %eax
	xorl %ecx, %ecx
1:	cmpq %rdx, %rcx
	je 3f
2:	movb (%rsi,%rcx), %r8b
	movb %r8b, (%rdi,%rcx)
	incq %rcx
	jmp 1b
3:	ret
4:	movl $-EFAULT, %eax
	ret
	EX_ENTRY 2b, 4b, EX_DEFAULT
ENDFUNC probe_read

/* get_user_word(addr, out): 0 and *out, or -EFAULT and *out = 0. No code for the failure: the
 * entry itself loads -EFAULT and goes on behind the access. */
FUNC get_user_word
	xorl %eax, %eax
	xorl %ecx, %ecx
1:	movq (%rdi), %rcx
2:	movq %rcx, (%rsi)
	ret
	EX_ENTRY 1b, 2b, EX_DATA(EX_IMM_REG, RAX, -EFAULT)
ENDFUNC get_user_word

/* copy_from_user(dst, src, n): how many bytes could *not* be copied */
FUNC copy_from_user
	movq %rdx, %rcx
1:	rep movsb
2:	movq %rcx, %rax
	ret
	EX_ENTRY 1b, 2b, EX_UACCESS
ENDFUNC copy_from_user

/* read_word(addr): no entry for this one; a bad address is a bug. */
FUNC read_word
	movq (%rdi), %rax
	ret
ENDFUNC read_word

/* write_word(addr, value) */
FUNC write_word
	movq %rsi, (%rdi)
	ret
ENDFUNC write_word
