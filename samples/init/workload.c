/* The script: what the program does when nobody tells it what to do. */
#include "init.h"

struct step {
	const char *name;
	int (*run)(void);
};

static const struct step mounts[] = {
	{"mount /proc", mount_proc},
	{"mount /sys", mount_sys},
	{"mount /dev", mount_dev},
};

static const struct step steps[] = {
	{"uname", kernel_name},
	{"version", kernel_version},
	{"getpid", own_pid},
	{"fork", fork_and_wait},
	{"exec", exec_itself},
	{"file", files},
	{"null", null_device},
	{"pipe", pipes},
	{"clock", clocks},
	{"sleep", short_sleep},
	{"mmap", pages},
	{"signal", signals},
	{"fault", page_fault},
	{"breakpoint", user_breakpoint},
};

static int passed, tried;

/* One line a step: "kprobesim init: NAME: RESULT: ok" (or FAILED). */
static void run_steps(const struct step *step, u64 count)
{
	for (; count--; step++) {
		int good;

		begin_line();
		put(step->name);
		put(": ");
		good = step->run();
		put(good ? ": ok" : ": FAILED");
		end_line();
		passed += good;
		tried++;
	}
}

void run_mounts(void)
{
	run_steps(mounts, sizeof(mounts) / sizeof(mounts[0]));
}

void run_workload(void)
{
	run_steps(steps, sizeof(steps) / sizeof(steps[0]));
}

/* How many of the steps since the last report did not pass. */
int report(void)
{
	int failed = tried - passed;

	begin_line();
	put_number(passed);
	put(" of ");
	put_number(tried);
	put(" steps passed");
	end_line();
	passed = tried = 0;
	return failed;
}
