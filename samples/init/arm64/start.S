/* What C cannot say: the first instruction, the way into the kernel and back from a signal. */
	.text
	.globl _start
	.type _start, %function
_start:
	mov x29, xzr
	mov x30, xzr
	mov x0, sp /* argc, argv[0], argv[1] ... as execve() left them */
	bl run
	udf #0
	.size _start, . - _start

/* long syscall(long number, a, b, c, d, e, f): the result, or -errno */
	.globl syscall
	.type syscall, %function
syscall:
	mov x8, x0
	mov x0, x1
	mov x1, x2
	mov x2, x3
	mov x3, x4
	mov x4, x5
	mov x5, x6
	svc #0
	ret
	.size syscall, . - syscall

/* Where a signal handler returns to: rt_sigreturn. */
	.globl signal_return
	.type signal_return, %function
signal_return:
	mov x8, #139
	svc #0
	udf #0
	.size signal_return, . - signal_return

/* A breakpoint of user space's own. */
	.globl breakpoint
	.type breakpoint, %function
breakpoint:
	brk #0
	ret
	.size breakpoint, . - breakpoint
