/* What makes a module of the races. */
#include "../module/module.h"

MODULE_INFO("license=Dual MIT/GPL");
#ifndef MODULE_NAME
#define MODULE_NAME "kprobesim_races"
#endif
MODULE_INFO("name=" MODULE_NAME);
/* With room for that of a real kernel, which is put over it: nothing of a kernel is built in. */
static const char __used __section(".modinfo")
	vermagic[96] = "vermagic=6.1.0-kprobesim-sample SMP mod_unload";

__init int init_module(void)
{
	return 0;
}

__exit void cleanup_module(void)
{
}

THIS_MODULE_HERE;
