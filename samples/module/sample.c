/* A module for the sample guests: one function for each thing that a loader has to see to. */
#include "module.h"

MODULE_INFO("license=Dual MIT/GPL");
MODULE_INFO("name=kprobesim_sample");
MODULE_INFO("vermagic=6.1.0-kprobesim-sample SMP mod_unload");

u32 crc32_le(u32 crc, const u8 *data, u64 length);

static u64 sample_calls;
static u64 __used sample_hits __percpu_data = 5;
static u64 sample_limit __ro_after_init = 7;

/* a + b, and counts its calls. Exported. */
noinline s64 sample_add(s64 a, s64 b)
{
	locked_inc(&sample_calls);
	return a + b;
}
EXPORT_SYMBOL(sample_add);

/* How often sample_add() was called. */
noinline u64 sample_count(void)
{
	return sample_calls;
}

/* The kernel's CRC-32, called from here. */
noinline u32 sample_crc(const u8 *data, u64 length)
{
	return ~crc32_le(~0u, data, length);
}

/* Counts in this CPU's own memory, from 5 on. */
noinline u64 sample_percpu(void)
{
	this_cpu_inc(sample_hits);
	return this_cpu_read(sample_hits);
}

/* 1 as it is built, 2 as it is loaded. */
noinline u32 sample_alternative(void)
{
	return alternative_value(1, 2);
}

/* A static key that is on, and a label that was built as if it were off: 1 as built, 2 as loaded. */
struct static_key {
	int enabled;
	u64 type;
};
static struct static_key __used sample_key = { 1, 0 };

noinline u32 sample_branch(void)
{
	__asm__ goto("771: " JUMP_LABEL_NOP "\n"
		     ".pushsection __jump_table, \"aw\"\n"
		     ".balign 8\n"
		     ".long 771b - .\n"
		     ".long %l[jumped] - .\n"
		     ".quad sample_key - .\n"
		     ".popsection\n"
		     :
		     :
		     :
		     : jumped);
	return 1;
jumped:
	return 2;
}

/* n + 1; for n other than 0 with a warning. */
noinline s64 sample_warn(s64 n)
{
	if (n)
		__asm__ volatile("771: " BUG_INSTRUCTION "\n"
				 ".pushsection __bug_table, \"aw\"\n"
				 ".balign 4\n"
				 ".long 771b - .\n.long sample_file - .\n.short 77\n.short 1\n"
				 ".popsection\n"
				 ".pushsection .rodata.str, \"aMS\", %progbits, 1\n"
				 "sample_file: .asciz \"samples/module/sample.c\"\n"
				 ".popsection");
	return n + 1;
}

/* The byte at `from`, or -14 if there is none. */
noinline int sample_read(const u8 *from)
{
	int value;

	read_byte(value, from);
	return value;
}

/* Three functions that refuse probes. */
noinline u64 sample_listed(u64 n)
{
	return n + 1;
}
NOKPROBE_SYMBOL(sample_listed);

__kprobes u64 sample_in_section(u64 n)
{
	return n + 2;
}

noinstr u64 sample_noinstr(u64 n)
{
	return n + 3;
}

/* The limit, which may be set until the module has been initialised. */
noinline u64 sample_set_limit(u64 limit)
{
	*(volatile u64 *)&sample_limit = limit;
	return *(volatile u64 *)&sample_limit;
}

/* What init_module() answers. */
int sample_init_result;

__init int init_module(void)
{
	sample_set_limit(100);
	return sample_init_result;
}

__exit void cleanup_module(void)
{
	sample_calls = 0;
}

THIS_MODULE_HERE;
