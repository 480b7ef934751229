/* ARM64: how the guest finds its task and its per-CPU data. */
#define GUEST_NOTRACE __attribute__((patchable_function_entry(0)))

/* A per-CPU variable lives at an ordinary address; TPIDR_EL1 holds the distance from there to
 * this CPU's copy (0 for the first CPU before the areas are set up). */
#define __percpu_data __attribute__((section(".data..percpu")))

/* In the kernel (EL1) the user's stack pointer register is free: it holds the current task. */
static inline __attribute__((always_inline)) struct task_struct *get_current(void)
{
	struct task_struct *task;

	__asm__("mrs %0, sp_el0" : "=r"(task));
	return task;
}
#define current get_current()

static inline __attribute__((always_inline)) u64 *this_cpu_ptr(u64 *variable)
{
	u64 offset;

	__asm__ volatile("mrs %0, tpidr_el1" : "=r"(offset));
	return (u64 *)((u64)variable + offset);
}
#define this_cpu_inc(name) (++*(volatile u64 *)this_cpu_ptr(&name))
#define this_cpu_read(name) (*(volatile u64 *)this_cpu_ptr(&name))
#define cpu_relax() __asm__ volatile("yield")
#define JUMP_LABEL_NOP "nop"
