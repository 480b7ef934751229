/* The types of a kernel in which what the other files ask for is there, gone or otherwise. */
#include "bpf.h"

enum bpf_func_id {
	BPF_FUNC_unspec,
	BPF_FUNC_get_current_task = 35,
	BPF_FUNC_override_return = 58,
	BPF_FUNC_probe_read_kernel = 113,
};

struct task_struct { long before; int pid; };
struct path { void *mnt; };
struct file { struct path f_path; u64 f_pos; u32 f_flags; };
struct pt_regs { u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di; };

struct two___a { int a, b; };
struct two___b { int b, a; };
struct node { struct node *next; int value; };
struct signs { int number; char letter; u64 wide; struct node *node; };
struct words { struct { union { int inner; long other; }; }; short few[4]; int many[]; };

__attribute__((used)) void a_kfunc(struct task_struct *task, u64 flags) {}
int a_variable;

struct {
	enum bpf_func_id a; struct task_struct b; struct file c; struct pt_regs d;
	struct two___a e; struct two___b f; struct signs g;
} all;
struct words *words;
