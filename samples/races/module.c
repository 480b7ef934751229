/* What makes a module of the races. */
#include "../module/module.h"

MODULE_INFO("license=Dual MIT/GPL");
MODULE_INFO("name=kprobesim_races");
MODULE_INFO("vermagic=6.1.0-kprobesim-sample SMP mod_unload");

__init int init_module(void)
{
	return 0;
}

__exit void cleanup_module(void)
{
}

THIS_MODULE_HERE;
