/* Steps that take two processes, or a signal. */
#include "init.h"

enum { FORK_CODE = 42, HANDLED = 64 };

static volatile int caught;

static void remember(int number)
{
	caught = number;
}

static void leave(int number)
{
	exit(HANDLED + number);
}

int own_pid(void)
{
	s64 pid = getpid();

	put("pid ");
	put_number(pid);
	return pid > 0;
}

/* Wait for a child and say how it ended. */
static int ended_with(s64 pid, s64 expected)
{
	s64 code = pid < 0 ? pid : wait_for(pid);

	put("child ended with ");
	put_number(code);
	return code == expected;
}

int fork_and_wait(void)
{
	s64 pid = fork();

	if (!pid)
		exit(FORK_CODE);
	return ended_with(pid, FORK_CODE);
}

/* What the program does under its other name: see run(). */
int exec_itself(void)
{
	static const char *const arguments[] = {"/init child", NULL};
	static const char *const environment[] = {NULL};
	s64 pid = fork();

	if (!pid) {
		syscall(NR_execve, "/init", arguments, environment);
		exit(1);
	}
	return ended_with(pid, EXEC_CODE);
}

/* A word goes down one pipe, and its capitals come back through the other. */
int pipes(void)
{
	int down[2], up[2];
	char word[8] = "";
	s64 pid, i, size, code;

	if (syscall(NR_pipe2, down, 0L) || syscall(NR_pipe2, up, 0L)) {
		put("no pipe");
		return 0;
	}
	pid = fork();
	if (!pid) {
		close(down[1]);
		size = read(down[0], word, sizeof(word) - 1);
		for (i = 0; i < size; i++)
			word[i] -= 'a' - 'A';
		exit(write(up[1], word, size) == size && read(down[0], word, 1) == 0 ? 0 : 1);
	}
	close(down[0]);
	close(up[1]);
	write(down[1], "probe", 5);
	size = read(up[0], word, sizeof(word) - 1);
	close(down[1]); /* the child sees the end of the file */
	close(up[0]);
	code = pid < 0 ? pid : wait_for(pid);
	put("\"probe\" came back as \"");
	put(word);
	put("\"");
	return code == 0 && size == 5 && same(word, "PROBE");
}

int signals(void)
{
	caught = 0;
	on_signal(SIGUSR1, remember);
	kill(getpid(), SIGUSR1);
	put("SIGUSR1 ");
	put(caught == SIGUSR1 ? "caught, and back" : "not caught");
	return caught == SIGUSR1;
}

/* A child that handles its own fault, so that the kernel has nothing to report. */
int page_fault(void)
{
	s64 pid = fork();

	if (!pid) {
		on_signal(SIGSEGV, leave);
		*(volatile int *)8 = 1;
		exit(0);
	}
	put("SIGSEGV: ");
	return ended_with(pid, HANDLED + SIGSEGV);
}

int user_breakpoint(void)
{
	s64 pid = fork();

	if (!pid) {
		on_signal(SIGTRAP, leave);
		breakpoint();
		exit(0);
	}
	put("SIGTRAP: ");
	return ended_with(pid, HANDLED + SIGTRAP);
}
