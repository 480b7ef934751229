/* The first task, its stack, and questions about the current one. */
#include "guest.h"

enum { THREAD_SIZE = 16384 };

/* The linker script puts this first in its section and calls the place init_thread_union. */
u8 init_stack[THREAD_SIZE] __attribute__((aligned(16), section(".data..init_stack")));

struct task_struct init_task = {
	.state = TASK_RUNNING,
	.stack = init_stack,
	.parent = &init_task,
	.run_list = { &init_task.run_list, &init_task.run_list },
	.stack_canary = 0x5afe57ac00c0ff00UL,
	.comm = "swapper/0",
};
_Static_assert(__builtin_offsetof(struct task_struct, stack_canary) == 48, "build.py tells the compiler");

noinline int get_current_pid(void)
{
	return current->pid;
}

noinline s64 get_current_comm(char *buffer, size_t size)
{
	return strscpy(buffer, current->comm, size);
}

noinline void set_current_comm(const char *name)
{
	strscpy(current->comm, name, TASK_COMM_LEN);
}
