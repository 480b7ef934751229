/* As many places where a switch could matter as are wanted: each store is one. */
#include "races.h"

static u64 shared;

noinline s64 store_often(u64 times)
{
	for (u64 turn = 0; turn < times; turn++)
		WRITE_ONCE(shared, turn);
	return 0;
}
