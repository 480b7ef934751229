/* Members, functions and helpers that a kernel may lack, each asked for in another way. */
#include "bpf.h"

extern bool LINUX_HAS_SYSCALL_WRAPPER __kconfig;
extern int LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_NO_SUCH __kconfig __weak;
extern void bpf_no_such_kfunc(void) __ksym __weak;

struct task_struct { int pid, gone, gone_too; } CORE;
struct pt_regs { u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di; } CORE;
struct file { u64 f_pos; u32 f_flags; } CORE;
struct path { void *mnt; } CORE;

static long (*no_such_helper)(void *) = (void *)9999;
const volatile bool has_gone = 0;
u64 out;

#define KVERSION(a, b, c) ((a) << 16 | (b) << 8 | (c))
#define READ(field) ({ typeof(field) value; probe_read_kernel(&value, sizeof(value), &(field)); value; })

SEC("kprobe/f") int unguarded(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();

	out = READ(task->gone);
	return 0;
}

static __noinline int read_gone(struct task_struct *task)
{
	return READ(task->gone);
}

SEC("kprobe/f") int by_field(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();

	if (field_exists(task->gone) && READ(task->pid))
		out = read_gone(task);
	return 0;
}

SEC("kprobe/f") int in_a_subprogram(void *ctx)
{
	out = read_gone((void *)get_current_task());
	return 0;
}

SEC("kprobe/f") int by_version(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();

	if (LINUX_KERNEL_VERSION < KVERSION(5, 0, 0))
		out = READ(task->gone);
	return 0;
}

SEC("kprobe/f") int by_weak_setting(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();

	if (CONFIG_NO_SUCH)
		out = READ(task->gone);
	return 0;
}

SEC("kprobe/f") int by_constant(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();

	if (has_gone)
		out = READ(task->gone);
	return 0;
}

static __noinline bool asks(struct task_struct *task)
{
	return field_exists(task->gone);
}

SEC("kprobe/f") int by_what_a_function_returns(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();

	if (asks(task))
		out = READ(task->gone);
	return 0;
}

SEC("kprobe/f") int by_kfunc(void *ctx)
{
	if (bpf_no_such_kfunc)
		bpf_no_such_kfunc();
	return 0;
}

SEC("kprobe/f") int calls_kfunc(void *ctx)
{
	bpf_no_such_kfunc();
	return 0;
}

SEC("kprobe/f") int calls_helper(void *ctx)
{
	out = no_such_helper(ctx);
	return 0;
}

SEC("kprobe/f") int overrides(struct pt_regs *ctx)
{
	if (ctx->si == 4)
		override_return(ctx, -12);
	return 0;
}

SEC("kprobe/f") int of_registers(struct pt_regs *ctx)
{
	struct file *file = (void *)ctx->dx;
	u64 sixth;

	out = READ(file->f_pos) + ctx->di;
	probe_read_kernel(&sixth, sizeof(sixth), &ctx->r9);
	out += sixth;
	return 0;
}

SEC("kretprobe/f") int of_returned(struct pt_regs *ctx)
{
	out = ctx->ax;
	return 0;
}

/* As the usual macro for system calls does it. */
SEC("ksyscall/openat") int of_syscall(struct pt_regs *ctx)
{
	struct pt_regs *regs = LINUX_HAS_SYSCALL_WRAPPER ? (void *)ctx->di : ctx;

	if (LINUX_HAS_SYSCALL_WRAPPER)
		out = READ(regs->si);
	else
		out = ctx->si;
	return 0;
}

SEC("fexit/f") int of_slots(u64 *ctx)
{
	struct file *file = (void *)ctx[1];
	struct path *path = (void *)ctx[2];

	out = file->f_flags + (u64)path->mnt + ctx[5];
	return 0;
}
