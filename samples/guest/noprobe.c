/* Code that refuses probes, in the three ways a kernel has of saying so. */
#include "guest.h"

__kprobes u64 noprobe_section(u64 n)
{
	return n + 1;
}

noinstr u64 noinstr_section(u64 n)
{
	return n + 2;
}

noinline u64 noprobe_listed(u64 n)
{
	return n + 3;
}
NOKPROBE_SYMBOL(noprobe_listed);

/* Calls all three, and may be probed itself. */
noinline u64 noprobe_caller(u64 n)
{
	return noprobe_section(n) + noinstr_section(n) + noprobe_listed(n);
}

__irq_entry u64 irq_entry(u64 n)
{
	return n + 4;
}
