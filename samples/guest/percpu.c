/* Data of which every CPU has its own copy. */
#include "guest.h"

enum { NR_CPUS = 4 };

u64 cpu_counter __percpu_data;
u64 cpu_number __percpu_data;

#ifdef __x86_64__
extern u8 __per_cpu_load[];

/* Where each CPU's copy begins. Until the areas are allocated, the template itself serves. */
u64 __per_cpu_offset[NR_CPUS] = {
	(u64)__per_cpu_load, (u64)__per_cpu_load, (u64)__per_cpu_load, (u64)__per_cpu_load,
};
/* This CPU's own entry of that table, reachable through GS. */
u64 this_cpu_off __percpu_data = (u64)__per_cpu_load;
struct task_struct *current_task __percpu_data = &init_task;

/* First in the segment: the compiler reads a function's stack canary from GS:40. */
struct fixed_percpu_data {
	char gs_base[40];
	u64 stack_canary;
} fixed_percpu_data __attribute__((section(".data..percpu..first"), aligned(16))) = {
	.stack_canary = 0x5afe57ac00c0ff00UL,
};
#else
u64 __per_cpu_offset[NR_CPUS];
#endif

/* The counter after the increment. */
noinline u64 this_cpu_inc_counter(void)
{
	this_cpu_inc(cpu_counter);
	return this_cpu_read(cpu_counter);
}

noinline u64 smp_processor_id(void)
{
	return this_cpu_read(cpu_number);
}
