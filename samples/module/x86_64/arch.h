/* x86-64: what a module says in assembly. */
#define notrace __attribute__((no_instrument_function))

/* The kernel's per-CPU data begins at GS; the module's symbol is the distance from there. */
#define this_cpu_inc(name) __asm__ volatile("incq %%gs:" #name "(%%rip)" ::: "memory", "cc")
#define this_cpu_read(name)                                                                        \
	({                                                                                         \
		u64 value;                                                                         \
		__asm__ volatile("movq %%gs:" #name "(%%rip), %0" : "=r"(value)::"memory");        \
		value;                                                                             \
	})

#define BUG_INSTRUCTION "ud2"

/* On one CPU the prefix goes, while the module is loaded. */
#define locked_inc(pointer)                                                                        \
	__asm__ volatile("771: lock; incq %0\n"                                                    \
			 ".pushsection .smp_locks, \"a\"\n"                                        \
			 ".balign 4\n"                                                             \
			 ".long 771b - .\n"                                                        \
			 ".popsection\n"                                                           \
			 : "+m"(*(pointer))::"cc", "memory")

/* The first value as built, the second on every CPU: X86_FEATURE_ALWAYS. */
#define alternative_value(a, b)                                                                    \
	({                                                                                         \
		u32 value;                                                                         \
		__asm__ volatile("771: movl $" #a ", %0\n772:\n"                                   \
				 ".pushsection .altinstr_replacement, \"ax\"\n"                    \
				 "773: movl $" #b ", %0\n774:\n"                                   \
				 ".popsection\n"                                                   \
				 ".pushsection .altinstructions, \"a\"\n"                          \
				 ".long 771b - .\n.long 773b - .\n.short 3 * 32 + 21\n"            \
				 ".byte 772b - 771b\n.byte 774b - 773b\n"                          \
				 ".popsection\n"                                                   \
				 : "=r"(value));                                                   \
		value;                                                                             \
	})

#define JUMP_LABEL_NOP ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00"

/* One byte at `from`, or -14. */
#define read_byte(value, from)                                                                     \
	__asm__ volatile("movl $-14, %0\n"                                                         \
			 "771: movzbl (%1), %0\n772:\n"                                            \
			 ".pushsection __ex_table, \"a\"\n"                                        \
			 ".balign 4\n"                                                             \
			 ".long 771b - .\n.long 772b - .\n.long 1\n"                               \
			 ".popsection\n"                                                           \
			 : "=&r"(value)                                                            \
			 : "r"(from))
