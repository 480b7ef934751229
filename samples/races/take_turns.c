/* Two CPUs that wait for each other many times, and come to their end. */
#include "races.h"

enum { TURNS = 40 };

static u64 turn;

noinline s64 take_turns(u64 self)
{
	for (u64 number = 0; number < TURNS; number++) {
		while (READ_ONCE(turn) != self)
			cpu_relax();
		WRITE_ONCE(turn, !self);
	}
	return 0;
}
