/* CO-RE relocations of every kind, each result stored where the compiler cannot do without it. */
#include "bpf.h"

u64 out[64];

struct mm_struct { u64 start_stack; } CORE;
struct list_head { struct list_head *next, *prev; } CORE;
struct callback_head { struct callback_head *next; } CORE;

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct mm_struct *mm;
	struct list_head tasks;
	unsigned sched_reset_on_fork : 1;
	unsigned in_execve : 1;
	int exit_code;
	unsigned char no_such_member;
	u64 utime;
} CORE;

/* Until 5.14 it was called state, and was signed. */
struct task_struct___old { volatile long state; } CORE;
struct task_struct___new { unsigned int __state; } CORE;

struct sock_common {
	union { u32 skc_daddr; u32 whole; };
	u16 skc_family;
	unsigned char skc_reuse : 4;
	unsigned char skc_ipv6only : 1;
} CORE;
struct sock { struct sock_common __sk_common; } CORE;

struct upid { int nr; } CORE;
struct pid { unsigned int level; struct upid numbers[]; } CORE;

struct file { unsigned int f_flags; u64 f_pos; } CORE;
struct no_such_struct { int a; } CORE;
struct bpf_ringbuf { int x; };
union bpf_attr { u32 map_type; } CORE;

struct cred___mini { void *usage_nothing; };
typedef u32 kuid_like;

enum bpf_func_id { BPF_FUNC_ringbuf_output = 1, BPF_FUNC_no_such_helper = 2 };
enum bpf_map_type___mine { BPF_MAP_TYPE_RINGBUF___mine = 4 };
enum hrtimer_mode { HRTIMER_MODE_REL = 9 };

struct list_head___match { struct list_head___match *next, *prev; };
struct list_head___other { struct list_head *next; int prev; };

typedef int (*initcall_t)(void);
typedef void *(*mempool_alloc_t)(u32 gfp_mask, void *pool_data);
typedef long time64_t;
typedef int no_such_type_t;

SEC("kprobe/vfs_read")
int fields(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();
	struct sock *sock = ctx;
	struct pid *pid = ctx;

	out[0] = field_info(task->pid, FIELD_BYTE_OFFSET);
	out[1] = field_info(task->comm, FIELD_BYTE_SIZE);
	out[2] = field_info(task->comm[3], FIELD_BYTE_OFFSET);
	out[3] = field_info(task->tasks.prev, FIELD_BYTE_OFFSET);
	out[4] = field_info(task->exit_code, FIELD_SIGNED);
	out[5] = field_info(task->sched_reset_on_fork, FIELD_BYTE_OFFSET);
	out[6] = field_info(task->sched_reset_on_fork, FIELD_BYTE_SIZE);
	out[7] = field_info(task->sched_reset_on_fork, FIELD_LSHIFT);
	out[8] = field_info(task->sched_reset_on_fork, FIELD_RSHIFT);
	out[9] = field_info(task->in_execve, FIELD_LSHIFT);
	out[10] = field_exists(task->no_such_member);
	out[11] = field_exists(task->mm);
	out[12] = field_info(sock->__sk_common.skc_daddr, FIELD_BYTE_OFFSET);
	out[13] = field_info(sock->__sk_common.skc_ipv6only, FIELD_LSHIFT);
	out[14] = field_info(sock->__sk_common.skc_reuse, FIELD_SIGNED);
	out[15] = field_info(pid->numbers[0].nr, FIELD_BYTE_OFFSET);
	out[16] = field_info(pid->numbers[2].nr, FIELD_BYTE_OFFSET);
	out[17] = field_info(task[1].pid, FIELD_BYTE_OFFSET);
	out[18] = field_exists(((struct no_such_struct *)ctx)->a);
	out[19] = field_exists(((struct task_struct___old *)task)->state);
	out[20] = field_exists(((struct task_struct___new *)task)->__state);
	out[21] = field_info(task->utime, FIELD_RSHIFT);
	out[22] = field_info(task->mm->start_stack, FIELD_BYTE_OFFSET);
	return 0;
}

SEC("kprobe/vfs_write")
int types(void *ctx)
{
	out[30] = type_info(struct task_struct, TYPE_EXISTS);
	out[31] = type_info(struct task_struct, TYPE_SIZE);
	out[32] = type_info(struct no_such_struct, TYPE_EXISTS);
	out[33] = type_info(struct no_such_struct, TYPE_SIZE);
	out[34] = type_info(struct bpf_ringbuf, TYPE_EXISTS);
	out[35] = type_info(struct list_head___match, TYPE_MATCHES);
	out[36] = type_info(struct list_head___other, TYPE_MATCHES);
	out[37] = type_id(struct file, TYPE_ID_LOCAL);
	out[38] = type_id(struct file, TYPE_ID_TARGET);
	out[39] = type_id(struct no_such_struct, TYPE_ID_TARGET);
	out[40] = type_info(initcall_t, TYPE_EXISTS);
	out[41] = type_info(initcall_t, TYPE_MATCHES);
	out[42] = type_info(time64_t, TYPE_SIZE);
	out[43] = type_info(no_such_type_t, TYPE_EXISTS);
	out[44] = type_info(union bpf_attr, TYPE_SIZE);
	out[45] = type_info(enum hrtimer_mode, TYPE_EXISTS);
	out[46] = type_info(enum hrtimer_mode, TYPE_MATCHES);
	out[47] = type_info(mempool_alloc_t, TYPE_EXISTS);
	out[48] = type_info(enum bpf_func_id, TYPE_SIZE);
	return 0;
}

SEC("kprobe/vfs_open")
int enums(void *ctx)
{
	out[50] = enum_value(enum bpf_func_id, BPF_FUNC_ringbuf_output, ENUM_VALUE);
	out[51] = enum_value(enum bpf_func_id, BPF_FUNC_ringbuf_output, ENUM_VALUE_EXISTS);
	out[52] = enum_value(enum bpf_func_id, BPF_FUNC_no_such_helper, ENUM_VALUE_EXISTS);
	out[53] = enum_value(enum bpf_map_type___mine, BPF_MAP_TYPE_RINGBUF___mine, ENUM_VALUE);
	out[54] = enum_value(enum hrtimer_mode, HRTIMER_MODE_REL, ENUM_VALUE);
	return 0;
}

/* Loads and stores whose offset and size are relocated: f_flags is 4 bytes, f_pos 8. */
SEC("fentry/vfs_fsync")
int loads(u64 *ctx)
{
	struct file *file = (void *)ctx[0];

	out[60] = file->f_flags;
	out[61] = file->f_pos;
	return 0;
}

/* Poisoned: nothing asks before whether the member is there. */
SEC("kprobe/vfs_fsync")
int poisoned(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();
	unsigned char byte = 0;

	probe_read_kernel(&byte, 1, &task->no_such_member);
	out[62] = byte;
	return 0;
}

/* The same where it is asked. */
SEC("kprobe/vfs_llseek")
int guarded(void *ctx)
{
	struct task_struct *task = (void *)get_current_task();
	unsigned char byte = 0;

	if (field_exists(task->no_such_member))
		probe_read_kernel(&byte, 1, &task->no_such_member);
	out[63] = byte;
	return 0;
}
