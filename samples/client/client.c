/* A module that uses another one. */
#include "../module/module.h"

MODULE_INFO("license=Dual MIT/GPL");
MODULE_INFO("name=kprobesim_client");
MODULE_INFO("depends=kprobesim_sample");
MODULE_INFO("vermagic=6.1.0-kprobesim-sample SMP mod_unload");

s64 sample_add(s64 a, s64 b);

/* n added up n times, by the other module. */
noinline s64 client_square(s64 n)
{
	s64 sum = 0;

	for (s64 i = 0; i < n; i++)
		sum = sample_add(sum, n);
	return sum;
}

/* Its init function fails with -19 (ENODEV). */
__init int init_module(void)
{
	return -19;
}

__exit void cleanup_module(void)
{
}

THIS_MODULE_HERE;
