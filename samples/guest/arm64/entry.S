/* Entry code: runs before the kernel's own state is set up, so no probe may sit in it. Nothing
 * here is ever called; the section is there for the rules that know it. */
#include "linkage.h"
	.section .entry.text, "ax"
FUNC el1h_64_sync
	stp x0, x1, [sp, #-16]!
	ldp x0, x1, [sp], #16
	eret
ENDFUNC el1h_64_sync

FUNC ret_to_user
	msr daifset, #3
	eret
ENDFUNC ret_to_user

	.text
/* The cold half of noprobe_listed(), which the compiler moved away: its name says where it is
 * from, and so it shares its fate. */
FUNC noprobe_listed.cold
	add x0, x0, #3
	ret
ENDFUNC noprobe_listed.cold
