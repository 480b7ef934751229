/* "vfs: ioctl: prevent double-fetch in dedupe ioctl" (10eec60ce791, CVE-2016-6516): the number of
 * entries is read from user space to know how much to allocate, and comes a second time with the
 * whole, which may say something else by then. The first one counts. */
#include "races.h"

enum { MOST = 5 };
struct dedupe_range {
	u64 dest_count;
	u64 info[MOST];
};

static struct dedupe_range user = { .dest_count = 1 }; /* of the calling process */

inline_both s64 dedupe_ioctl(bool fixed)
{
	u64 count = READ_ONCE(user.dest_count);
	struct dedupe_range *same;

	if (count > MOST)
		return -EINVAL;
	same = __kmalloc((1 + count) * sizeof(u64));
	same->dest_count = READ_ONCE(user.dest_count); /* all is copied, also what is known */
	for (u64 entry = 0; entry < count; entry++)
		same->info[entry] = READ_ONCE(user.info[entry]);
	if (fixed)
		same->dest_count = count;
	for (u64 entry = 0; entry < same->dest_count; entry++)
		WRITE_ONCE(same->info[entry], 0); /* the status of each */
	kfree(same);
	return 0;
}
RACY_AND_FIXED(dedupe_ioctl)

/* Another thread of the process. */
noinline s64 user_changes_count(void)
{
	WRITE_ONCE(user.dest_count, 2);
	return 0;
}
