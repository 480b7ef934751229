/* Read, change, write, as one. */
#include "linkage.h"
	.text
/* atomic_add_return(v, p): adds v to *p and returns the sum. Between the two exclusive accesses
 * no probe may sit: the exception would lose the reservation, and the loop would never end. */
FUNC atomic_add_return
1:	ldxr x2, [x1]
	add x2, x2, x0
	stxr w3, x2, [x1]
	cbnz w3, 1b
	mov x0, x2
	ret
ENDFUNC atomic_add_return

/* atomic_swap(v, p): the same with ordering; returns what was there before */
FUNC atomic_swap
	mov x2, x0
1:	ldaxr x0, [x1]
	stlxr w3, x2, [x1]
	cbnz w3, 1b
	ret
ENDFUNC atomic_swap
