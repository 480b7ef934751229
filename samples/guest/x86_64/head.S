/* Where a boot loader would jump to. Functions are called by symbol here, so nothing boots: the
 * first instruction of the image stops the processor. */
#include "linkage.h"
	.section .head.text, "ax"
FUNC startup_64
	cli
1:	hlt
	jmp 1b
ENDFUNC startup_64
