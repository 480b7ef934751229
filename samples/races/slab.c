/* Memory that is never used again once it is freed, poisoned, with red zones: as under slab_debug. */
#include "races.h"

enum { OBJECTS = 16, WORDS = 8 };
#define POISON_FREE 0x6b6b6b6b6b6b6b6bul
#define RED_ACTIVE 0xccccccccccccccccul

static struct {
	u64 words[WORDS];
	u64 size, live;
} objects[OBJECTS];
static u32 used;

/* `size` bytes, at most 56; what is behind them is a red zone. */
noinline void *__kmalloc(u64 size)
{
	u32 number = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);

	BUG_ON(number >= OBJECTS || size > (WORDS - 1) * sizeof(u64));
	for (u64 word = 0; word < WORDS; word++)
		objects[number].words[word] = word < (size + 7) / 8 ? 0 : RED_ACTIVE;
	objects[number].size = size;
	objects[number].live = 1;
	return objects[number].words;
}

/* Finds an object that is freed twice, and a red zone that was written to. */
noinline void kfree(void *object)
{
	u64 number = ((u64)object - (u64)objects) / sizeof(objects[0]);

	BUG_ON(number >= OBJECTS || !__atomic_exchange_n(&objects[number].live, 0, __ATOMIC_RELAXED));
	for (u64 word = 0; word < WORDS; word++) {
		BUG_ON(word >= (objects[number].size + 7) / 8 &&
		       objects[number].words[word] != RED_ACTIVE);
		objects[number].words[word] = POISON_FREE;
	}
}
