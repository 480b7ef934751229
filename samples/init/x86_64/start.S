/* What C cannot say: the first instruction, the way into the kernel and back from a signal. */
	.text
	.globl _start
	.type _start, @function
_start:
	xorl %ebp, %ebp
	movq %rsp, %rdi /* argc, argv[0], argv[1] ... as execve() left them */
	andq $-16, %rsp
	call run
	ud2
	.size _start, . - _start

/* long syscall(long number, a, b, c, d, e, f): the result, or -errno */
	.globl syscall
	.type syscall, @function
syscall:
	movq %rdi, %rax
	movq %rsi, %rdi
	movq %rdx, %rsi
	movq %rcx, %rdx
	movq %r8, %r10
	movq %r9, %r8
	movq 8(%rsp), %r9
	syscall
	ret
	.size syscall, . - syscall

/* Where a signal handler returns to: rt_sigreturn. */
	.globl signal_return
	.type signal_return, @function
signal_return:
	movl $15, %eax
	syscall
	ud2
	.size signal_return, . - signal_return

/* A breakpoint of user space's own. */
	.globl breakpoint
	.type breakpoint, @function
breakpoint:
	int3
	ret
	.size breakpoint, . - breakpoint
