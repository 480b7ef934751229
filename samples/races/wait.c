/* Wait queues: who is on one is woken; who sleeps and is on none, is not. */
#include "races.h"

noinline void prepare_to_wait(wait_queue_head_t *queue, struct task *task)
{
	spin_lock(&queue->lock);
	task->next = queue->first;
	queue->first = task;
	WRITE_ONCE(task->asleep, 1);
	spin_unlock(&queue->lock);
}

/* Comes back when somebody has woken `task`. */
noinline void schedule_task(struct task *task)
{
	while (READ_ONCE(task->asleep))
		cpu_relax();
}

noinline void wake_up(wait_queue_head_t *queue)
{
	spin_lock(&queue->lock);
	for (struct task *task = queue->first; task; task = task->next)
		WRITE_ONCE(task->asleep, 0);
	queue->first = NULL;
	spin_unlock(&queue->lock);
}
