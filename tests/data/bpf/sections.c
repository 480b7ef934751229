/* Programs in sections of many names, two in one section, code that they share, a list of externs. */
#include "bpf.h"

extern int CONFIG_HZ __kconfig;
extern bool CONFIG_BPF_LSM __kconfig __weak;
extern char CONFIG_LOCALVERSION[20] __kconfig __weak;
extern int LINUX_KERNEL_VERSION __kconfig;
extern const void init_task __ksym;
extern const int runqueues_count __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;
extern void *bpf_no_such_kfunc(void *task, int flags) __ksym __weak;

u64 total;

__noinline int shared(int a)
{
	total += a;
	return total & 1;
}

static __noinline int deeper(int a)
{
	return shared(a) + shared(total);
}

SEC("kprobe/vfs_read")
int first(void *ctx)
{
	return deeper(1) + CONFIG_HZ + CONFIG_BPF_LSM + CONFIG_LOCALVERSION[1] + LINUX_KERNEL_VERSION;
}

SEC("kprobe/vfs_read")
int second(void *ctx)
{
	total += (u64)&init_task + (&runqueues_count ? runqueues_count : 0);
	return 0;
}

SEC("?fentry/nf_tables:nft_do_chain")
int optional(void *ctx)
{
	bpf_rcu_read_lock();
	if (bpf_no_such_kfunc)
		bpf_no_such_kfunc(ctx, 1);
	return 0;
}

SEC("kprobe")
int at_run_time(void *ctx)
{
	return shared(3);
}
