/* Code and data of which a running kernel would get rid after the boot. */
#include "guest.h"

extern struct list_head boot_list;
struct list_head boot_list __attribute__((section(".init.data")));

__init u64 start_kernel(u64 n)
{
	list_init(&boot_list);
	init_task.run_list.next = init_task.run_list.prev = &init_task.run_list;
	return n + (boot_list.next == &boot_list);
}
