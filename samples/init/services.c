/* The kernel's services under the names that everybody knows. */
#include "init.h"

#define AT_FDCWD (-100L)
#define SA_RESTORER 0x04000000UL
enum { CLOCK_MONOTONIC = 1 };

/* struct kernel_sigaction, the same on both architectures */
struct sigaction {
	void (*handler)(int);
	u64 flags;
	void (*restorer)(void);
	u64 mask;
};

s64 open(const char *path, int flags)
{
	return syscall(NR_openat, AT_FDCWD, path, (s64)flags, 0600L);
}

s64 close(s64 file)
{
	return syscall(NR_close, file);
}

s64 read(s64 file, void *buffer, u64 size)
{
	return syscall(NR_read, file, buffer, size);
}

s64 write(s64 file, const void *buffer, u64 size)
{
	return syscall(NR_write, file, buffer, size);
}

/* The beginning of a file, with a zero after it. */
s64 read_text(const char *path, char *buffer, u64 size)
{
	s64 file = open(path, O_RDONLY), got = file;

	if (file >= 0) {
		got = read(file, buffer, size - 1);
		close(file);
	}
	buffer[got < 0 ? 0 : got] = 0;
	return got;
}

s64 unlink(const char *path)
{
	return syscall(NR_unlinkat, AT_FDCWD, path, 0L);
}

s64 uname(void *names)
{
	return syscall(NR_uname, names);
}

s64 getpid(void)
{
	return syscall(NR_getpid);
}

s64 fork(void)
{
	return syscall(NR_clone, (s64)SIGCHLD, 0L, 0L, 0L, 0L);
}

/* The child's exit code, or KILLED_BY plus the signal that ended it. */
s64 wait_for(s64 pid)
{
	int status = 0;
	s64 got = syscall(NR_wait4, pid, &status, 0L, NULL);

	if (got != pid)
		return got < 0 ? got : -1;
	return status & 0x7f ? KILLED_BY + (status & 0x7f) : status >> 8 & 0xff;
}

s64 kill(s64 pid, int number)
{
	return syscall(NR_kill, pid, (s64)number);
}

s64 on_signal(int number, void (*handler)(int))
{
	struct sigaction action = {
		.handler = handler,
		.flags = SA_RESTORER,
		.restorer = signal_return,
	};

	return syscall(NR_rt_sigaction, (s64)number, &action, NULL, sizeof(action.mask));
}

s64 sleep_ms(s64 milliseconds)
{
	struct timespec time = {
		.seconds = milliseconds / 1000,
		.nanoseconds = milliseconds % 1000 * 1000000,
	};

	return syscall(NR_nanosleep, &time, NULL);
}

/* Nanoseconds since the kernel started. */
s64 clock_ns(void)
{
	struct timespec time;
	s64 error = syscall(NR_clock_gettime, (s64)CLOCK_MONOTONIC, &time);

	return error ? error : time.seconds * 1000000000 + time.nanoseconds;
}

void exit(int code)
{
	for (;;)
		syscall(NR_exit, (s64)code);
}
