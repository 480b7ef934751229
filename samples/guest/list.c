/* Linked lists: the kernel's ring of two pointers, and a plain chain of numbers. */
#include "guest.h"

struct node {
	struct node *next;
	s64 value;
};

noinline void list_init(struct list_head *list)
{
	list->next = list->prev = list;
}

noinline void list_add(struct list_head *entry, struct list_head *head)
{
	entry->next = head->next;
	entry->prev = head;
	head->next->prev = entry;
	head->next = entry;
}

noinline void list_del(struct list_head *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
}

noinline s64 list_sum(const struct node *node)
{
	s64 sum = 0;

	for (; node; node = node->next)
		sum += node->value;
	return sum;
}

noinline struct node *list_reverse(struct node *node)
{
	struct node *result = NULL;

	while (node) {
		struct node *next = node->next;

		node->next = result;
		result = node;
		node = next;
	}
	return result;
}
