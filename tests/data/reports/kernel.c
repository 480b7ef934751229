/* A kernel with functions of all the shapes that public reports of probes are about. */
#define noinline __attribute__((noinline, used))
#define notrace __attribute__((patchable_function_entry(0, 0)))
#define NAMED(function, name) noinline int function(int x) __asm__(name); int function(int x)
#define BODY { sink = x; return x + 1; }
#define PLAIN(name) noinline int name(int x) BODY

volatile int sink;

/* What the kernel's interfaces are made of. */
PLAIN(register_ftrace_direct)
PLAIN(bpf_kprobe_multi_link_attach)
PLAIN(register_fprobe_ips)

PLAIN(__traceiter_sched_switch)
PLAIN(__traceiter_untyped)
PLAIN(bpf_lsm_file_open)
PLAIN(bpf_lsm_file_lock)
PLAIN(bpf_iter_task)

PLAIN(vfs_read)
PLAIN(security_file_open)
noinline void security_file_release(int x) { sink = x; }
PLAIN(security_bpf_map_create)
PLAIN(kfree_skb_reason)
PLAIN(bprm_execve)
PLAIN(do_renameat2)

PLAIN(security_inode_setattr)
PLAIN(bpf_lsm_bpf_map_create)

/* one that BTF has twice, as two files had one of the name before one was inlined */
PLAIN(str_to_user)

noinline int call_them(int x) { security_file_release(x); return vfs_read(x) + str_to_user(x) + security_file_open(x) + security_inode_setattr(x); }

/* the old name calls the new one, and so do others */
PLAIN(filemap_add_folio)
noinline int add_to_page_cache_lru(int x) { return filemap_add_folio(x) * 3; }
noinline int filemap_get_pages(int x) { return filemap_add_folio(x) + add_to_page_cache_lru(x); }

/* who does what only sock_recvmsg() does in C holds a copy of that */
PLAIN(security_socket_recvmsg)
noinline int sock_recvmsg(int x) { return security_socket_recvmsg(x) * 3; }
noinline int sock_read_iter(int x) { return sock_recvmsg(x) + 1; }
noinline int kernel_recvmsg(int x) { return security_socket_recvmsg(x) * 3 + 2; }

/* static inline, and no copy outside of its callers */
static inline __attribute__((always_inline)) int blk_account_io_start(int x) { sink = x; return sink * 3; }
noinline int blk_mq_submit_bio(int x) { return blk_account_io_start(x) + 1; }

/* static inline, and a copy outside of its callers, which ftrace does not trace */
notrace noinline int blk_account_io_done(int x) BODY
notrace noinline int _copy_from_iter(int x) BODY

/* inlined into one of two callers */
int psi_task_switch(int x) { sink = x; return sink + 7; }
noinline int schedule_tail(int x) { return psi_task_switch(x) * 5; }

/* inlined into all of its callers, as with LTO, though it has a symbol */
int input_handle_event(int x) { sink = x; return sink + 11; }
noinline int input_event(int x) { return input_handle_event(x) * 7; }

/* what compilers derive from a function */
NAMED(ttwu, "ttwu_do_wakeup.isra.20") BODY
NAMED(switched, "finish_task_switch.isra.0") BODY
NAMED(switched_cold, "finish_task_switch.cold") BODY
NAMED(attach, "attach_recursive_mnt.isra.0") BODY
NAMED(rename_hook, "security_inode_rename.isra.3") BODY

/* an address of entry, in the list of what must not be probed */
notrace noinline int asm_sysvec_reschedule_ipi(int x) BODY
__asm__(
    ".section .rodata\n"
    ".balign 8\n"
    ".globl __start_kprobe_blacklist, __stop_kprobe_blacklist\n"
    "__start_kprobe_blacklist: .quad asm_sysvec_reschedule_ipi\n"
    "__stop_kprobe_blacklist:\n"
    ".text\n");

/* several of one name: the other is in a file of its own */
noinline static int ip_rcv_finish(int x) BODY
noinline int ip_rcv(int x) { return ip_rcv_finish(x) * 3; }

/* an event of tracefs */
struct event_class { const char *system; } class_sched = { "sched" };
struct event_call { void *next, *previous; struct event_class *class; const char *name; };
struct event_call event_free = { 0, 0, &class_sched, "sched_process_free" };
struct event_class class_syscalls = { "syscalls" };
struct event_call event_openat = { 0, 0, &class_syscalls, "sys_enter_openat" };
__asm__(
    ".section .rodata\n"
    ".balign 8\n"
    ".globl __start_ftrace_events, __stop_ftrace_events\n"
    "__start_ftrace_events: .quad event_free, event_openat\n"
    "__stop_ftrace_events:\n"
    ".text\n");

/* the modules of security that are on: BPF's is none of them */
__attribute__((used)) const char lsm_order[] = "\0lockdown,yama,apparmor";

/* a system call, which gets the registers of its caller */
struct pt_regs;
#define SYSCALL_(prefix, name) noinline long prefix##name(const struct pt_regs *regs) { return (long)regs; }
#define SYSCALL(prefix, name) SYSCALL_(prefix, name)
SYSCALL(PREFIX, openat)
#define NAME_(prefix, name) prefix##name
#define NAME(prefix, name) NAME_(prefix, name)
const char *const names_openat[] = { "dfd", "filename" };
struct syscall_metadata { const char *name; int number; unsigned char arguments; const char *const *types, *const *names; }
    __syscall_meta__openat = { "sys_openat", 0, 2, 0, names_openat };
long (*const sys_call_table[])(const struct pt_regs *) = { NAME(PREFIX, openat) };

/* a first instruction that cannot be probed, in a function that ftrace does not trace */
__asm__(
    ".text\n"
    ".balign 16\n"
    ".globl generic_permission\n"
    ".type generic_permission, %function\n"
    "generic_permission: " UNPROBEABLE "\n"
    "ret\n"
    ".size generic_permission, .-generic_permission\n");
