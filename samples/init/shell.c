/* A tiny command loop for a console with somebody at it. */
#include "init.h"

/* A child that never gives the processor back, and a parent that wakes up all the same. */
static void spin(void)
{
	s64 pid = fork(), code;

	if (!pid)
		for (volatile u64 turns = 0;; turns++)
			;
	if (pid < 0)
		return;
	sleep_ms(50);
	kill(pid, SIGKILL);
	code = wait_for(pid);
	put("child ended with ");
	put_number(code);
	end_line();
}

static void show_file(const char *path)
{
	char buffer[256];
	s64 file = open(path, O_RDONLY), got = file;

	while (got >= 0 && (got = read(file, buffer, sizeof(buffer))) > 0)
		write(STDOUT, buffer, got);
	if (got < 0) {
		put("cat: ");
		put(path);
		put(": ");
		put_number(got);
		end_line();
	}
	if (file >= 0)
		close(file);
}

static void run_command(const char *command)
{
	const char *rest;

	if ((rest = after_prefix(command, "echo "))) {
		put(rest);
		end_line();
	} else if ((rest = after_prefix(command, "cat "))) {
		show_file(rest);
	} else if (same(command, "pid")) {
		own_pid();
		end_line();
	} else if (same(command, "fork")) {
		fork_and_wait();
		end_line();
	} else if (same(command, "spin")) {
		spin();
	} else if (same(command, "steps")) {
		run_workload();
		report();
	} else if (*command) {
		put(command);
		put(": not a command; there are echo TEXT, cat FILE, pid, fork, spin, steps, exit");
		end_line();
	}
}

/* Until "exit", or the end of the input (Ctrl-D). */
void run_shell(void)
{
	char command[256];
	s64 got;

	for (;;) {
		write(STDOUT, "init> ", 6);
		got = read(STDIN, command, sizeof(command) - 1);
		if (got <= 0)
			return;
		while (got && (command[got - 1] == '\n' || command[got - 1] == '\r'))
			got--;
		command[got] = 0;
		if (same(command, "exit"))
			return;
		run_command(command);
	}
}
