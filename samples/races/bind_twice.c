/* "l2tp: fix racy SOCK_ZAPPED flag check in l2tp_ip{,6}_bind()" (32c231164b76, CVE-2016-10200):
 * whether a socket is bound is asked before its lock is taken, so two binds add it to the table
 * twice. It has to be asked under the lock. */
#include "races.h"

static struct mutex sock_lock;
static LIST_HEAD(bind_table);
static struct {
	struct list_head node;
	bool zapped;
} sock = { .zapped = true };

noinline s64 l2tp_socket(void)
{
	init_mutex(&sock_lock);
	return 0;
}

inline_both s64 l2tp_bind(bool fixed)
{
	if (!fixed && !READ_ONCE(sock.zapped))
		return -EINVAL;
	lock_mutex(&sock_lock);
	if (fixed && !sock.zapped) {
		unlock_mutex(&sock_lock);
		return -EINVAL;
	}
	list_add(&sock.node, &bind_table);
	sock.zapped = false;
	unlock_mutex(&sock_lock);
	return 0;
}
RACY_AND_FIXED(l2tp_bind)
