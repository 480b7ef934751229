/* Accesses that may fault, and the table that says where to go on when they do.
 * An entry of Linux 6.1: the instruction, its fixup, the kind of fixup, and its data
 * (arch/arm64/include/asm/asm-extable.h). */
#include "linkage.h"
#define UACCESS_ERR_ZERO 2	/* -EFAULT into one register, 0 into another */
#define KACCESS_ERR_ZERO 3	/* the same, for an access to the kernel's own memory */
#define ZR 31
#define REGISTERS(err, zero) ((err) | ((zero) << 5))

.macro EX_ENTRY at, fixup, type, data
	.pushsection __ex_table, "a"
	.balign 4
	.long \at - .
	.long \fixup - .
	.short \type
	.short \data
	.popsection
.endm

	.text
/* probe_read(dst, src, len): copies byte by byte; 0, or -EFAULT at the first bad address of src */
FUNC probe_read
	mov w5, wzr
	mov x3, xzr
1:	cmp x3, x2
	b.eq 3f
2:	ldrb w4, [x1, x3]
	strb w4, [x0, x3]
	add x3, x3, #1
	b 1b
3:	mov w0, w5
	ret
	EX_ENTRY 2b, 3b, KACCESS_ERR_ZERO, REGISTERS(5, ZR)
ENDFUNC probe_read

/* get_user_word(addr, out): 0 and *out, or -EFAULT and *out = 0 */
FUNC get_user_word
	mov w3, wzr
1:	ldr x2, [x0]
2:	str x2, [x1]
	mov w0, w3
	ret
	EX_ENTRY 1b, 2b, UACCESS_ERR_ZERO, REGISTERS(3, 2)
ENDFUNC get_user_word

/* copy_from_user(dst, src, n): how many bytes could *not* be copied */
FUNC copy_from_user
	mov x3, x0
	add x4, x0, x2
1:	cmp x3, x4
	b.eq 3f
2:	ldrb w5, [x1], #1
	strb w5, [x3], #1
	b 1b
3:	sub x0, x4, x3
	ret
	EX_ENTRY 2b, 3b, UACCESS_ERR_ZERO, REGISTERS(ZR, ZR)
ENDFUNC copy_from_user

/* read_word(addr): no entry for this one; a bad address is a bug. */
FUNC read_word
	ldr x0, [x0]
	ret
ENDFUNC read_word

/* write_word(addr, value) */
FUNC write_word
	str x1, [x0]
	ret
ENDFUNC write_word
