/* Code that goes deep, or never ends. */
#include "guest.h"

u64 spins;

noinline void spin_forever(void)
{
	for (;;) {
		spins++;
		cpu_relax();
	}
}

noinline u64 fib(u64 n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

/* n calls of itself, one inside the other; returns n. */
noinline u64 recurse(u64 n)
{
	opaque(n);
	return n ? recurse(n - 1) + 1 : 0;
}

/* Ends where the stack does. */
noinline u64 recurse_forever(u64 n)
{
	opaque(n);
	n = recurse_forever(n + 1);
	opaque(n);
	return n + 1;
}

/* n turns of a loop: the unit in which speed is measured. */
noinline u64 count_to(u64 n)
{
	u64 i, sum = 0;

	for (i = 0; i < n; i++) {
		sum += i;
		opaque(sum);
	}
	return sum;
}
