/* Steps that mount, open, read and write. */
#include "init.h"

enum { SEEK_SET = 0, NAME_SIZE = 65 };

/* struct new_utsname */
struct names {
	char system[NAME_SIZE];
	char node[NAME_SIZE];
	char release[NAME_SIZE];
	char version[NAME_SIZE];
	char machine[NAME_SIZE];
	char domain[NAME_SIZE];
};

/* A kernel without that file system, or one that mounted it itself, is fine. */
static int mount(const char *type, const char *where)
{
	s64 error = syscall(NR_mount, type, where, type, 0L, NULL);

	put(type);
	if (!error) {
		put(" mounted");
		return 1;
	}
	if (error == -ENODEV || error == -EBUSY) {
		put(error == -ENODEV ? " not in this kernel" : " was mounted already");
		return 1;
	}
	put(" refused: ");
	put_number(error);
	return 0;
}

int mount_proc(void)
{
	return mount("proc", "/proc");
}

int mount_sys(void)
{
	return mount("sysfs", "/sys");
}

int mount_dev(void)
{
	return mount("devtmpfs", "/dev");
}

int kernel_name(void)
{
	struct names names;
	s64 error = uname(&names);

	if (error) {
		put_number(error);
		return 0;
	}
	put(names.system);
	put(" ");
	put(names.release);
	put(" ");
	put(names.machine);
	return same(names.system, "Linux");
}

int kernel_version(void)
{
	char text[256], *end = text;
	s64 size = read_text("/proc/version", text, sizeof(text));

	if (size < 0) {
		put_number(size);
		return 0;
	}
	while (*end && *end != '\n')
		end++;
	*end = 0;
	put(text);
	return after_prefix(text, "Linux version ") != NULL;
}

int files(void)
{
	static const char written[] = "written by kprobesim init\n";
	const char *path = "/tmp/kprobesim-init";
	char text[64] = "";
	s64 size = sizeof(written) - 1, file = open(path, O_RDWR | O_CREAT | O_TRUNC);
	int good;

	good = write(file, written, size) == size;
	good &= syscall(NR_lseek, file, 0L, (s64)SEEK_SET) == 0;
	good &= read(file, text, sizeof(text) - 1) == size && same(text, written);
	good &= close(file) == 0;
	good &= read_text(path, text, sizeof(text)) == size && same(text, written);
	good &= unlink(path) == 0;
	good &= open(path, O_RDONLY) < 0;
	put(path);
	put(good ? " written, read and removed" : " is not what was written");
	return good;
}

int null_device(void)
{
	s64 file = open("/dev/null", O_RDWR);
	char byte = 0;
	int good = write(file, "gone", 4) == 4 && read(file, &byte, 1) == 0;

	close(file);
	put(good ? "/dev/null takes all and gives nothing" : "/dev/null does not work");
	return good;
}
