/* "spi: spidev: fix lock inversion between spi_lock and buf_lock" (CVE-2026-43319): a write takes the
 * buffer's lock and then the device's, an ioctl both the other way round. The device's is enough. */
#include "races.h"

static struct mutex buf_lock, spi_lock;
static u64 speed = 1, sent;

noinline s64 spidev_probe(void)
{
	__mutex_init(&buf_lock, "buf_lock", NULL);
	__mutex_init(&spi_lock, "spi_lock", NULL);
	return 0;
}

inline_both s64 spidev_write(bool fixed)
{
	if (!fixed)
		mutex_lock(&buf_lock);
	mutex_lock(&spi_lock);
	sent += speed;
	mutex_unlock(&spi_lock);
	if (!fixed)
		mutex_unlock(&buf_lock);
	return 0;
}
RACY_AND_FIXED(spidev_write)

inline_both s64 spidev_ioctl(bool fixed)
{
	mutex_lock(&spi_lock);
	if (!fixed)
		mutex_lock(&buf_lock);
	speed = 2;
	if (!fixed)
		mutex_unlock(&buf_lock);
	mutex_unlock(&spi_lock);
	return 0;
}
RACY_AND_FIXED(spidev_ioctl)
