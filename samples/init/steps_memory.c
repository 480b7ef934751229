/* Steps about pages and time. */
#include "init.h"

#define NO_FILE (-1L)
enum { PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22, PAGE = 4096, PAGES = 64, SLEEP_MS = 50 };

/* Touch each page, see a child's copies stay its own, and lose them all. */
int pages(void)
{
	u64 size = (u64)PAGES * PAGE, sum = 0, i;
	s64 where = syscall(NR_mmap, NULL, size, (s64)PROT_READ_WRITE,
			    (s64)MAP_PRIVATE_ANONYMOUS, NO_FILE, 0L);
	volatile u8 *memory = (volatile u8 *)where;
	s64 pid, unmapped;

	if (where < 0 && where > -4096) {
		put_number(where);
		return 0;
	}
	for (i = 0; i < PAGES; i++) {
		sum += memory[i * PAGE]; /* zero */
		memory[i * PAGE] = i;
	}
	pid = fork();
	if (!pid) {
		for (i = 0; i < PAGES; i++)
			memory[i * PAGE] = 255;
		exit(0);
	}
	if (pid < 0 || wait_for(pid))
		sum = 0;
	for (i = 0; i < PAGES; i++)
		sum += memory[i * PAGE];
	syscall(NR_munmap, where, size);
	unmapped = uname((void *)where);
	put_number(PAGES);
	put(" pages sum up to ");
	put_number(sum);
	put(unmapped == -EFAULT ? ", then gone" : ", and still there");
	return sum == PAGES * (PAGES - 1) / 2 && unmapped == -EFAULT;
}

int clocks(void)
{
	s64 first = clock_ns(), second = clock_ns();
	int good = first > 0 && second >= first;

	put(good ? "the clock goes forward" : "the clock does not go forward");
	return good;
}

int short_sleep(void)
{
	s64 start = clock_ns(), error = sleep_ms(SLEEP_MS);
	int good = !error && clock_ns() - start >= SLEEP_MS * 1000000L;

	put("slept ");
	put(good ? "at least " : "less than ");
	put_number(SLEEP_MS);
	put(" ms");
	return good;
}
