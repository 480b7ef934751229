/* Opening a file by name: a string argument, a copy that may fault, an error to return. */
#include "guest.h"

enum { PATH_MAX = 64, FIRST_FD = 3, NR_FILES = 4 };

static const char *const known_files[NR_FILES] = {
	"/etc/hostname", "/etc/passwd", "/proc/version", "/dev/null",
};
static u64 nr_open;

/* Length of the string copied, or -EFAULT, or -E2BIG when there is no end within size. */
noinline s64 strncpy_from_user(char *dst, const char *src, s64 size)
{
	s64 i;

	for (i = 0; i < size; i++) {
		int err = probe_read(dst + i, src + i, 1);

		if (err)
			return err;
		if (!dst[i])
			return i;
	}
	return -E2BIG;
}

noinline int lookup_file(const char *path)
{
	u32 i;

	for (i = 0; i < NR_FILES; i++)
		if (!strcmp(path, known_files[i]))
			return i;
	return -ENOENT;
}

noinline s64 do_sys_openat2(int dfd, const char *filename, int flags, u32 mode)
{
	char path[PATH_MAX];
	s64 result = strncpy_from_user(path, filename, sizeof(path));

	(void)dfd, (void)flags, (void)mode;
	if (result < 0)
		return result;
	result = lookup_file(path);
	if (result < 0)
		return result;
	return FIRST_FD + nr_open++;
}
ALLOW_ERROR_INJECTION(do_sys_openat2, ERRNO);

noinline s64 do_sys_open(int dfd, const char *filename, int flags, u32 mode)
{
	return do_sys_openat2(dfd, filename, flags, mode);
}
