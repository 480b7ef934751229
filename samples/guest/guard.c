/* Functions with a stack canary: a secret word between a buffer and the return address. */
#include "guest.h"

enum { BUFFER_SIZE = 16, REACH = BUFFER_SIZE + 16 };

/* Fills n bytes of a buffer of 16; returns their sum. Up to 16 all is well; 32 (the most that it
 * writes) reaches the canary on both architectures, and the function ends in __stack_chk_fail. */
noinline u64 guarded_fill(u64 n)
{
	u8 buffer[BUFFER_SIZE];
	u8 *at = buffer;
	u64 sum = 0, i;

	opaque(at); /* what the compiler cannot see it cannot object to */
	for (i = 0; i < n && i < REACH; i++)
		at[i] = i + 1;
	opaque(at);
	for (i = 0; i < n && i < BUFFER_SIZE; i++)
		sum += at[i];
	return sum;
}
