/* How a process is made: the chain of calls that every kprobe tutorial probes. */
#include "guest.h"

#define CLONE_FS 0x00000200UL
#define CLONE_NEWNS 0x00020000UL
enum { NR_TASKS = 8, MAX_ERRNO = 4095 };

/* Nothing ever exits here, so the table of tasks is a ring: the oldest gives way. */
static struct task_struct tasks[NR_TASKS];
static u32 next_task;
int last_pid;
u64 total_forks;

static noinline struct task_struct *dup_task_struct(struct task_struct *orig)
{
	struct task_struct *task = &tasks[next_task++ % NR_TASKS];

	if (task->run_list.next)
		list_del(&task->run_list);
	memcpy(task, orig, sizeof(*task));
	task->state = TASK_NEW;
	task->parent = orig;
	list_init(&task->run_list);
	return task;
}

noinline int alloc_pid(void)
{
	return ++last_pid;
}

noinline struct task_struct *copy_process(struct kernel_clone_args *args)
{
	struct task_struct *task;

	/* A new mount namespace cannot share its parent's idea of the root directory. */
	if ((args->flags & (CLONE_NEWNS | CLONE_FS)) == (CLONE_NEWNS | CLONE_FS))
		return (struct task_struct *)-EINVAL;
	task = dup_task_struct(&init_task);
	task->stack = (void *)args->stack;
	task->pid = alloc_pid();
	task->tgid = task->pid;
	return task;
}
ALLOW_ERROR_INJECTION(copy_process, ERRNO_NULL);

noinline void wake_up_new_task(struct task_struct *task)
{
	task->state = TASK_RUNNING;
	list_add(&task->run_list, &init_task.run_list);
}

/* The pid of the new process, or a negative errno. */
noinline s64 kernel_clone(struct kernel_clone_args *args)
{
	struct task_struct *task = copy_process(args);
	int pid;

	if ((u64)task >= (u64)-MAX_ERRNO)
		return (s64)task;
	pid = task->pid;
	total_forks++;
	wake_up_new_task(task);
	return pid;
}

/* The same under its names of 4.2 to 5.9, and before: books and old modules probe these. */
noinline s64 _do_fork(u64 clone_flags, u64 stack_start, u64 stack_size)
{
	struct kernel_clone_args args = {
		.flags = clone_flags & ~0xffUL,
		.exit_signal = clone_flags & 0xff,
		.stack = stack_start,
		.stack_size = stack_size,
	};

	return kernel_clone(&args);
}

noinline s64 do_fork(u64 clone_flags, u64 stack_start, u64 stack_size)
{
	return _do_fork(clone_flags, stack_start, stack_size);
}

/* How many tasks wait for the processor. */
noinline u64 nr_running(void)
{
	struct list_head *at;
	u64 count = 0;

	for (at = init_task.run_list.next; at != &init_task.run_list; at = at->next)
		count++;
	return count;
}
