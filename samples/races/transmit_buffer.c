/* "tty: n_hdlc: get rid of racy n_hdlc.tbuf" (82f2341c94d2, CVE-2017-2636): a buffer whose
 * transmission failed waits in a pointer of its own; who sends it again and who flushes the queue
 * both give it back. The mended driver puts it to the head of the list, which has a lock. */
#include "races.h"

struct buffer {
	struct list_head node;
	u64 length;
};

static spinlock_t list_lock;
static LIST_HEAD(free_list);
static LIST_HEAD(tx_list);
static struct buffer *tbuf;

/* A transmission has failed. */
inline_both s64 hdlc_failed(bool fixed)
{
	struct buffer *buffer = __kmalloc(sizeof(*buffer));

	if (fixed)
		list_add(&buffer->node, &tx_list);
	else
		tbuf = buffer;
	return 0;
}
RACY_AND_FIXED(hdlc_failed)

static struct buffer *take_first(struct list_head *list)
{
	struct buffer *buffer = NULL;

	spin_lock(&list_lock);
	if (!list_empty(list)) {
		buffer = (struct buffer *)list->next;
		list_del(&buffer->node);
	}
	spin_unlock(&list_lock);
	return buffer;
}

static void give_back(struct buffer *buffer)
{
	spin_lock(&list_lock);
	list_add(&buffer->node, &free_list);
	spin_unlock(&list_lock);
}

/* How many buffers were sent. */
inline_both s64 hdlc_send_frames(bool fixed)
{
	struct buffer *buffer = fixed ? NULL : READ_ONCE(tbuf);
	s64 sent = 0;

	if (!buffer)
		buffer = take_first(&tx_list);
	while (buffer) {
		buffer->length = 0; /* the device takes it */
		give_back(buffer);
		if (!fixed)
			WRITE_ONCE(tbuf, NULL);
		sent++;
		buffer = take_first(&tx_list);
	}
	return sent;
}
RACY_AND_FIXED(hdlc_send_frames)

inline_both s64 hdlc_flush_queue(bool fixed)
{
	struct buffer *buffer;
	s64 flushed = 0;

	while ((buffer = take_first(&tx_list))) {
		give_back(buffer);
		flushed++;
	}
	if (!fixed && READ_ONCE(tbuf)) {
		give_back(READ_ONCE(tbuf));
		WRITE_ONCE(tbuf, NULL);
		flushed++;
	}
	return flushed;
}
RACY_AND_FIXED(hdlc_flush_queue)
