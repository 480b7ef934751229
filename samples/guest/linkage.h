/* What the assembly files share: how a function begins and ends, and the tables' entries. */
.macro FUNC name
	.globl \name
#ifdef __x86_64__
	.balign 16, 0xcc /* INT3: nothing may run into the gap before a function */
	.type \name, @function
#else
	.balign 16
	.type \name, %function
#endif
\name:
.endm

.macro ENDFUNC name
	.size \name, . - \name
.endm

/* A variable, aligned to its size. */
.macro DATA name, size
	.balign \size
#ifdef __x86_64__
	.type \name, @object
#else
	.type \name, %object
#endif
	.size \name, \size
\name:
.endm

/* An entry of __bug_table: where, in which file and line, and whether it is only a warning.
 * Distances count from the field that holds them. */
.macro BUG_ENTRY at, file, line, flags
	.pushsection __bug_table, "aw"
	.balign 4
	.long \at - .
	.long \file - .
	.short \line
	.short \flags
	.popsection
.endm
