/*
 * Threads on all CPUs that change a page under each other, and look what is there.
 *
 *	threads CPUS ROUNDS
 *
 * Compiled for guests by threads_in_guest.py.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 16, GONE = -1, WRITABLE = PROT_READ | PROT_WRITE };

static int cpus, rounds;
static long page;
static volatile long *place;
static _Atomic int turn, seen[MOST], wrong, faults;
static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t expects;

static void fault(int number)
{
	if (!expects)
		_exit(99);
	faults++;
	siglongjmp(back, number);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		_exit(98);
}

static void wait_while(_Atomic int *word, int value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void tell(_Atomic int *word, int value)
{
	atomic_store(word, value);
	syscall(SYS_futex, word, FUTEX_WAKE, MOST, NULL, NULL, 0);
}

static long look(void)
{
	long value = GONE;

	expects = 1;
	if (!sigsetjmp(back, 1))
		value = *place;
	expects = 0;
	return value;
}

static long wanted(int round)
{
	return round % 5 == 4 ? GONE : round % 5 == 2 ? 0 : round;
}

static void *reader(void *number)
{
	long me = (long)number;
	int last = 0;

	pin(me % cpus);
	while (last < rounds) {
		int now = atomic_load(&turn);

		if (now == last) {
			wait_while(&turn, now);
			continue;
		}
		long value = look();

		if (value != wanted(now)) {
			wrong++;
			printf("round %d: thread %ld sees %ld, not %ld\n", now, me, value, wanted(now));
		}
		last = now;
		tell(&seen[me], now);
	}
	return NULL;
}

static void *map(void *at, int flags, int file, long offset)
{
	void *mapped = mmap(at, page, WRITABLE, flags, file, offset);

	if (mapped == MAP_FAILED)
		_exit(97);
	return mapped;
}

/* What is in the place becomes another page, or something else. */
static void change(int round, int file)
{
	void *at = (void *)place;

	switch (round % 5) {
	case 0: /* a new page over it */
		map(at, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*place = round;
		break;
	case 1: { /* a page of a file, moved there */
		long *other = map(NULL, MAP_SHARED, file, round % 2 * page);

		*other = round;
		if (mremap(other, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED)
			_exit(96);
		break;
	}
	case 2: /* given up: the next one is zero */
		map(at, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*place = round;
		madvise(at, page, MADV_DONTNEED);
		break;
	case 3: { /* copied when it is written, while a child keeps the old one */
		int status;

		*place = round - 1;
		pid_t child = fork();

		if (!child) {
			usleep(1000);
			_exit(*place != round - 1);
		}
		*place = round;
		waitpid(child, &status, 0);
		if (status) {
			wrong++;
			printf("round %d: the child ends with %x\n", round, status);
		}
		break;
	}
	case 4: /* gone */
		if (round % 2)
			mprotect(at, page, PROT_NONE);
		else
			munmap(at, page);
	}
}

int main(int count, char **words)
{
	struct sigaction action = { .sa_handler = fault, .sa_flags = SA_NODEFER };
	pthread_t threads[MOST];
	int file = open("/tmp/threads", O_RDWR | O_CREAT, 0600);

	page = sysconf(_SC_PAGESIZE);
	cpus = count > 1 ? atoi(words[1]) : 1;
	rounds = count > 2 ? atoi(words[2]) : 100;
	sigaction(SIGSEGV, &action, NULL);
	if (cpus < 1 || cpus >= MOST || ftruncate(file, 2 * page))
		return 2;
	place = map(NULL, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (long n = 0; n < cpus; n++)
		if (pthread_create(&threads[n], NULL, reader, (void *)n))
			return 2;
	for (int round = 1; round <= rounds; round++) {
		pin(round % cpus);
		change(round, file);
		tell(&turn, round);
		for (int n = 0; n < cpus; n++)
			for (int has; (has = atomic_load(&seen[n])) != round;)
				wait_while(&seen[n], has);
	}
	for (int n = 0; n < cpus; n++)
		pthread_join(threads[n], NULL);
	printf("%d rounds, %d wrong, %d faults\n", rounds, wrong, faults);
	return wrong != 0;
}
