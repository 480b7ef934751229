/* The line by which tools tell a kernel's version. */
#include "guest.h"

/* No PREEMPT after SMP, and on purpose: only on a kernel that does not preempt itself may the
 * copy of a probed instruction end in a jump back instead of a second trap ("boosted"). */
const char linux_banner[] =
	"Linux version 6.1.0-kprobesim-sample (kprobesim@sample) (clang, LLD) #1 SMP\n";

/* "6.1.0-kprobesim-sample", a read that a probe can follow into read-only data. */
noinline int banner_char(u32 index)
{
	return index < sizeof(linux_banner) ? linux_banner[index] : -1;
}
