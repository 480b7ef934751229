/* What a kernel's own self-test of kprobes probes. */
#include "guest.h"

noinline u32 kprobe_target(u32 value)
{
	return value / 3;
}

noinline u32 kprobe_target2(u32 value)
{
	return value / 3 + 1;
}

/* For a handler to call: a probe on it is then hit inside that handler. */
noinline u32 kprobe_recursed_target(u32 value)
{
	return value / 3;
}

/* A caller, for return probes that want to see more than one frame. */
noinline u32 kprobe_stacktrace_target(u32 value)
{
	return kprobe_target(value) + kprobe_target2(value);
}

u64 jump_key;

/* A static branch that is off: one NOP in the text, and its place in __jump_table. */
noinline u64 static_branch(u64 n)
{
	__asm__ goto("1: " JUMP_LABEL_NOP "\n"
		     ".pushsection __jump_table, \"aw\"\n"
		     ".balign 8\n"
		     ".long 1b - ., %l[on] - .\n"
		     ".quad jump_key - .\n"
		     ".popsection\n" ::::on);
	return n;
on:
	return n + jump_key;
}
