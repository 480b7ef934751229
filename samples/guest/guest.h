/* What every C file of the guest shares: types, section attributes, the task and its neighbours. */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int s32;
typedef long s64;
typedef unsigned long size_t;

#define NULL ((void *)0)
#define EFAULT 14
#define EINVAL 22
#define ERANGE 34
#define E2BIG 7
#define ENOENT 2

/* Every function stays a function of its own: a probe needs an address to sit on. */
#define noinline __attribute__((noinline))
#define __section(name) __attribute__((section(name)))
/* Code that must not be probed: the old way (a section) and the newer, stricter one. */
#define __kprobes noinline notrace __section(".kprobes.text")
#define noinstr noinline notrace __section(".noinstr.text")
#define __irq_entry noinline __section(".irqentry.text")
#define __init noinline __section(".init.text")
/* Without the tracer's call (x86-64) or NOPs (ARM64) at the entry. */
#define notrace GUEST_NOTRACE

/* The third way: the function stays where it is and its address joins a list. */
#define NOKPROBE_SYMBOL(function)                                                                  \
	static const u64 __attribute__((used)) __section("_kprobe_blacklist")                      \
		blacklisted_##function = (u64)function

/* What the function returns when it is made to fail: a record of _error_injection_whitelist. */
enum { EI_ETYPE_NONE, EI_ETYPE_NULL, EI_ETYPE_ERRNO, EI_ETYPE_ERRNO_NULL, EI_ETYPE_TRUE };
struct error_injection_entry {
	u64 addr;
	int etype;
};
#define ALLOW_ERROR_INJECTION(function, type)                                                      \
	static struct error_injection_entry __attribute__((used))                                  \
		__section("_error_injection_whitelist") may_fail_##function = {                    \
			(u64)function, EI_ETYPE_##type }

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
/* Hides a value from the optimiser, so that what looks foolish is compiled as it is written. */
#define opaque(value) __asm__ volatile("" : "+r"(value)::"memory")

struct list_head {
	struct list_head *next, *prev;
};

enum { TASK_RUNNING = 0, TASK_NEW = 0x800 };
enum { TASK_COMM_LEN = 16 };

struct task_struct {
	u32 state;
	u32 flags;
	void *stack;
	int pid;
	int tgid;
	struct task_struct *parent;
	struct list_head run_list;   /* at 32 */
	u64 stack_canary;            /* at 48: ARM64 reads it through SP_EL0 */
	char comm[TASK_COMM_LEN];
};

/* The head of the kernel's own argument block of clone(), as clone3(2) documents it. */
struct kernel_clone_args {
	u64 flags;
	int *pidfd;
	int *child_tid;
	int *parent_tid;
	int exit_signal;
	u64 stack;
	u64 stack_size;
	u64 tls;
};

#include "arch.h"

extern struct task_struct init_task;
extern u8 _text[], _stext[], _etext[], _end[];

s64 kernel_clone(struct kernel_clone_args *args);

size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
s64 strscpy(char *dst, const char *src, size_t size);
void *memcpy(void *dst, const void *src, size_t count);
void *memset(void *s, int c, size_t count);
int memcmp(const void *a, const void *b, size_t count);

void list_init(struct list_head *list);
void list_add(struct list_head *entry, struct list_head *head);
void list_del(struct list_head *entry);

/* Assembly of each architecture. */
int probe_read(void *dst, const void *src, size_t len);
int get_user_word(u64 addr, u64 *out);
s64 atomic_add_return(s64 v, s64 *p);

#endif
