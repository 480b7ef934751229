/* "locking/atomic: Make test_and_*_bit() ordered on failure" (415d83249709): the bit is looked at
 * before it is set, and where it is set already nothing orders the look behind what was stored before.
 * Who clears it then does not see that. */
#include "races.h"

static u64 data;
static u64 bits = 1;

inline_both bool test_and_set_bit(bool fixed)
{
	if (!fixed && READ_ONCE(bits) & 1)
		return true;
	if (fixed)
		smp_mb();
	return __atomic_fetch_or(&bits, 1, __ATOMIC_SEQ_CST) & 1;
}

/* Brings data; whether somebody is to be told. */
inline_both s64 tty_receive(bool fixed)
{
	WRITE_ONCE(data, 1);
	return !test_and_set_bit(fixed);
}
RACY_AND_FIXED(tty_receive)

/* Looks for data, once it has said that it does. */
noinline s64 tty_work(void)
{
	WRITE_ONCE(bits, 0);
	smp_mb();
	return (s64)READ_ONCE(data);
}
