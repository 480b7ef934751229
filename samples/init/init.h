/* What the files of this program share. It has no library: the kernel is all it talks to. */
#ifndef INIT_H
#define INIT_H

#include "numbers.h"

typedef unsigned char u8;
typedef unsigned long u64;
typedef long s64;

#define NULL ((void *)0)

enum { EFAULT = 14, EBUSY = 16, ENODEV = 19 };
enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_TRUNC = 01000 };
enum { SIGTRAP = 5, SIGKILL = 9, SIGUSR1 = 10, SIGSEGV = 11, SIGCHLD = 17 };
enum { STDIN = 0, STDOUT = 1 };

/* How the program leaves under its other name. */
enum { EXEC_CODE = 33 };

struct timespec {
	s64 seconds;
	s64 nanoseconds;
};

/* start.S */
s64 syscall(s64 number, ...);
void signal_return(void);
void breakpoint(void);

/* text.c: a line is collected first and goes to the console in one write */
u64 length(const char *text);
int same(const char *a, const char *b);
const char *after_prefix(const char *text, const char *prefix);
void put(const char *text);
void put_number(s64 value);
void begin_line(void);
void end_line(void);

/* services.c: the kernel's services, each with its result or -errno */
s64 open(const char *path, int flags);
s64 close(s64 file);
s64 read(s64 file, void *buffer, u64 size);
s64 write(s64 file, const void *buffer, u64 size);
s64 read_text(const char *path, char *buffer, u64 size);
s64 unlink(const char *path);
s64 uname(void *names);
s64 getpid(void);
s64 fork(void);
s64 wait_for(s64 pid);
s64 kill(s64 pid, int number);
s64 on_signal(int number, void (*handler)(int));
s64 sleep_ms(s64 milliseconds);
s64 clock_ns(void);
void exit(int code) __attribute__((noreturn));

/* What wait_for() makes of a child that a signal ended, as shells do. */
enum { KILLED_BY = 128 };

/* steps_*.c: each step puts its result in words and returns whether it is as it should be */
int mount_proc(void);
int mount_sys(void);
int mount_dev(void);
int kernel_name(void);
int kernel_version(void);
int files(void);
int null_device(void);
int pages(void);
int own_pid(void);
int fork_and_wait(void);
int exec_itself(void);
int pipes(void);
int signals(void);
int page_fault(void);
int user_breakpoint(void);
int clocks(void);
int short_sleep(void);

/* workload.c */
void run_mounts(void);
void run_workload(void);
int report(void);

/* shell.c */
void run_shell(void);

#endif
