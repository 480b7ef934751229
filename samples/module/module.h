/* What makes a module of an object file: the sections that its loader reads. */
#ifndef MODULE_H
#define MODULE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

#define noinline __attribute__((noinline))
#define __section(name) __attribute__((section(name)))
#define __used __attribute__((used))
#define __init noinline __section(".init.text")
#define __exit noinline __section(".exit.text")
#define __ro_after_init __section(".data..ro_after_init")
#define __percpu_data __section(".data..percpu")

#include "arch.h"

#define __kprobes noinline notrace __section(".kprobes.text")
#define noinstr noinline notrace __section(".noinstr.text")

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define MODULE_INFO(text)                                                                          \
	static const char __used __section(".modinfo") CAT(info_, __LINE__)[] = text

/* As the loader of 6.1 finds it: distances to the symbol, its name, its namespace. */
#define EXPORT_SYMBOL(symbol)                                                                      \
	__asm__(".pushsection __ksymtab_strings, \"aMS\", %progbits, 1\n"                          \
		"name_of_" #symbol ": .asciz \"" #symbol "\"\n"                                    \
		".popsection\n"                                                                    \
		".pushsection __ksymtab, \"a\"\n"                                                  \
		".balign 4\n"                                                                      \
		".long " #symbol " - .\n"                                                          \
		".long name_of_" #symbol " - .\n"                                                  \
		".long 0\n"                                                                        \
		".popsection\n")

#define NOKPROBE_SYMBOL(function)                                                                  \
	static const u64 __used __section("_kprobe_blacklist") blacklisted_##function =            \
		(u64)function

/* The kernel's is larger; what a loader needs of it are the two functions. */
struct module {
	u64 state;
	int (*init)(void);
	void (*exit)(void);
} __attribute__((aligned(64)));

int init_module(void);
void cleanup_module(void);

#define THIS_MODULE_HERE                                                                           \
	struct module __used __section(".gnu.linkonce.this_module") __this_module = {              \
		.init = init_module, .exit = cleanup_module }

#endif
