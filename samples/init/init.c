/* The first process of a kernel that has no other: it works, reports, and powers off. */
#include "init.h"

#define LINUX_REBOOT_MAGIC1 0xfee1deadUL
#define LINUX_REBOOT_MAGIC2 672274793UL
#define LINUX_REBOOT_CMD_POWER_OFF 0x4321fedcUL

/* Whether the kernel's command line has this word. */
static int asked_for(const char *word)
{
	char text[4096];
	const char *at = text;

	read_text("/proc/cmdline", text, sizeof(text));
	while (*at) {
		const char *rest = after_prefix(at, word);

		if (rest && (!*rest || *rest == ' ' || *rest == '\n'))
			return 1;
		while (*at && *at++ != ' ')
			;
	}
	return 0;
}

/* What exec_itself() started: the name shows that the arguments arrived. */
static void run_child(const char *name)
{
	begin_line();
	put("hello from \"");
	put(name);
	put("\"");
	end_line();
	exit(EXEC_CODE);
}

static void power_off(void)
{
	s64 error = syscall(NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			    LINUX_REBOOT_CMD_POWER_OFF, NULL);

	begin_line();
	put("power-off refused: ");
	put_number(error);
	end_line();
}

/* stack: argc, then argv[0]. Only process 1 may change the machine it runs on, that is mount and
 * power off: started by hand, the program just works and returns how many steps failed. */
void run(u64 *stack)
{
	const char *name = stack[0] ? (const char *)stack[1] : "";
	int first = getpid() == 1, failed = 0;

	if (same(name, "/init child"))
		run_child(name);
	begin_line();
	put("hello from user space");
	end_line();
	if (first)
		run_mounts();
	if (asked_for("kprobesim.shell")) {
		run_shell();
	} else {
		run_workload();
		failed = report();
	}
	if (first)
		power_off();
	exit(failed);
}
