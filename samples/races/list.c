/* Lists that look whether they are whole, as under CONFIG_LIST_HARDENED. */
#include "races.h"

#define LIST_POISON1 ((struct list_head *)0xdead000000000100)
#define LIST_POISON2 ((struct list_head *)0xdead000000000122)

noinline void list_add(struct list_head *new, struct list_head *head)
{
	struct list_head *next = head->next;

	BUG_ON(next->prev != head || new == head || new == next);
	WRITE_ONCE(next->prev, new);
	WRITE_ONCE(new->next, next);
	WRITE_ONCE(new->prev, head);
	WRITE_ONCE(head->next, new);
}

noinline void list_del(struct list_head *entry)
{
	BUG_ON(entry->next == LIST_POISON1 || entry->prev == LIST_POISON2);
	BUG_ON(entry->prev->next != entry || entry->next->prev != entry);
	WRITE_ONCE(entry->next->prev, entry->prev);
	WRITE_ONCE(entry->prev->next, entry->next);
	WRITE_ONCE(entry->next, LIST_POISON1);
	WRITE_ONCE(entry->prev, LIST_POISON2);
}
