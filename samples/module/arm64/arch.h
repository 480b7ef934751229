/* ARM64: what a module says in assembly. */
#define notrace __attribute__((patchable_function_entry(0)))

static inline __attribute__((always_inline)) u64 *this_cpu_ptr(u64 *variable)
{
	u64 offset;

	__asm__ volatile("mrs %0, tpidr_el1" : "=r"(offset));
	return (u64 *)((u64)variable + offset);
}
#define this_cpu_inc(name) (++*(volatile u64 *)this_cpu_ptr(&name))
#define this_cpu_read(name) (*(volatile u64 *)this_cpu_ptr(&name))

#define BUG_INSTRUCTION "brk #0x800"

#define locked_inc(pointer) (++*(volatile u64 *)(pointer))

/* The first value as built, the second on every CPU: ARM64_ALWAYS_BOOT. */
#define alternative_value(a, b)                                                                    \
	({                                                                                         \
		u32 value;                                                                         \
		__asm__ volatile("771: mov %w0, #" #a "\n772:\n"                                   \
				 ".pushsection .altinstr_replacement, \"ax\"\n"                    \
				 "773: mov %w0, #" #b "\n774:\n"                                   \
				 ".popsection\n"                                                   \
				 ".pushsection .altinstructions, \"a\"\n"                          \
				 ".long 771b - .\n.long 773b - .\n.short 0\n"                      \
				 ".byte 772b - 771b\n.byte 774b - 773b\n"                          \
				 ".popsection\n"                                                   \
				 : "=r"(value));                                                   \
		value;                                                                             \
	})

#define JUMP_LABEL_NOP "nop"

/* One byte at `from`, or -14: EX_TYPE_UACCESS_ERR_ZERO would say which register; 3 stands in x3. */
#define read_byte(value, from)                                                                     \
	do {                                                                                       \
		register u64 error __asm__("x3") = 0;                                              \
		register u64 byte __asm__("x4") = 0;                                               \
		__asm__ volatile("771: ldrb w4, [%2]\n772:\n"                                      \
				 ".pushsection __ex_table, \"a\"\n"                                \
				 ".balign 4\n"                                                     \
				 ".long 771b - .\n.long 772b - .\n.short 2\n.short 3 | 4 << 5\n"   \
				 ".popsection\n"                                                   \
				 : "+r"(error), "+r"(byte)                                         \
				 : "r"(from));                                                     \
		value = error ? (int)error : (int)byte;                                            \
	} while (0)
