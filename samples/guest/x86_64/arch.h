/* x86-64: how the guest finds its task and its per-CPU data. */
#define GUEST_NOTRACE __attribute__((no_instrument_function))

/* A per-CPU variable's symbol is an offset into the per-CPU segment, linked at address 0;
 * GS holds where this CPU's copy begins. */
#define __percpu_data __attribute__((section(".data..percpu")))

static inline __attribute__((always_inline)) struct task_struct *get_current(void)
{
	struct task_struct *task;

	__asm__("movq %%gs:current_task, %0" : "=r"(task));
	return task;
}
#define current get_current()

/* One instruction, so no interrupt can come between load and store. */
#define this_cpu_inc(name) __asm__ volatile("incq %%gs:" #name ::: "memory", "cc")
/* RIP-relative *and* GS-relative: the displacement names a per-CPU offset near 0. */
#define this_cpu_read(name)                                                                        \
	({                                                                                         \
		u64 value;                                                                         \
		__asm__ volatile("movq %%gs:" #name "(%%rip), %0" : "=r"(value)::"memory");        \
		value;                                                                             \
	})
#define cpu_relax() __asm__ volatile("pause")
/* The five bytes of a static branch that is off: a NOP, listed in __jump_table. */
#define JUMP_LABEL_NOP ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00"
