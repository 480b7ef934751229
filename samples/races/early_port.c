/* "ALSA: seq: Fix use-after-free at creating a port" (71105998845f, CVE-2017-15265): a port can be
 * found, and deleted, from the moment on that it is in the list, while who made it is not done with
 * it. He takes a reference before. */
#include "races.h"

struct port {
	struct list_head node;
	u64 *client;
	u64 users;
};

static spinlock_t ports_lock;
static LIST_HEAD(ports);
static u64 client_ports;

inline_both s64 create_port(bool fixed)
{
	struct port *port = __kmalloc(sizeof(*port));

	port->client = &client_ports;
	port->users = fixed;
	spin_lock(&ports_lock);
	list_add(&port->node, &ports);
	spin_unlock(&ports_lock);
	++*READ_ONCE(port->client);
	if (fixed)
		__atomic_fetch_sub(&port->users, 1, __ATOMIC_RELEASE);
	return 0;
}
RACY_AND_FIXED(create_port)

/* Whether there was one. */
noinline s64 delete_port(void)
{
	struct port *port = NULL;

	spin_lock(&ports_lock);
	if (!list_empty(&ports)) {
		port = (struct port *)ports.next;
		list_del(&port->node);
	}
	spin_unlock(&ports_lock);
	if (!port)
		return 0;
	while (smp_load_acquire(&port->users))
		cpu_relax();
	kfree(port);
	return 1;
}
