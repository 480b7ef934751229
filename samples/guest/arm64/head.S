/* The 64 bytes by which a boot loader knows an ARM64 kernel (Documentation/arm64/booting.rst).
 * Functions are called by symbol here, so nothing boots: the first instruction leads to a stop. */
#include "linkage.h"
	.section .head.text, "ax"
_head:
	b primary_entry			/* code0 */
	nop				/* code1 */
	.quad 0				/* where to load it, from a 2 MB boundary */
	.quad _kernel_size_le		/* bytes of memory it needs */
	.quad _kernel_flags_le		/* little endian, 4 kB pages, anywhere in memory */
	.quad 0, 0, 0
	.ascii "ARMd"
	.long 0

	.text
FUNC primary_entry
	msr daifset, #0xf
1:	wfi
	b 1b
ENDFUNC primary_entry
