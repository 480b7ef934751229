/* "spi: spidev: fix lock inversion between spi_lock and buf_lock" (CVE-2026-43319): a write takes the
 * buffer's lock and then the device's, an ioctl both the other way round. The device's is enough. */
#include "races.h"

static struct mutex buf_lock, spi_lock;
static u64 speed = 1, sent;

noinline s64 spidev_probe(void)
{
	init_mutex(&buf_lock);
	init_mutex(&spi_lock);
	return 0;
}

inline_both s64 spidev_write(bool fixed)
{
	if (!fixed)
		lock_mutex(&buf_lock);
	lock_mutex(&spi_lock);
	sent += speed;
	unlock_mutex(&spi_lock);
	if (!fixed)
		unlock_mutex(&buf_lock);
	return 0;
}
RACY_AND_FIXED(spidev_write)

inline_both s64 spidev_ioctl(bool fixed)
{
	lock_mutex(&spi_lock);
	if (!fixed)
		lock_mutex(&buf_lock);
	speed = 2;
	if (!fixed)
		unlock_mutex(&buf_lock);
	unlock_mutex(&spi_lock);
	return 0;
}
RACY_AND_FIXED(spidev_ioctl)
