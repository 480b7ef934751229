/* "net: adding memory barrier to the poll and receive callbacks" (a57de0b4336e): who polls joins the
 * queue and looks for data, who receives stores data and looks whether the queue is empty. If each looks
 * before the other one's store is seen, nobody is woken, and the data wait with who polls. */
#include "races.h"

static wait_queue_head_t queue;
static struct task poller;
static u64 received;

inline_both s64 tcp_poll(bool fixed)
{
	prepare_to_wait(&queue, &poller);
	if (fixed)
		smp_mb();
	if (!READ_ONCE(received))
		schedule_task(&poller);
	return 0;
}
RACY_AND_FIXED(tcp_poll)

inline_both s64 sock_def_readable(bool fixed)
{
	WRITE_ONCE(received, 1);
	if (fixed)
		smp_mb();
	if (READ_ONCE(queue.first))
		wake_up(&queue);
	return 0;
}
RACY_AND_FIXED(sock_def_readable)
