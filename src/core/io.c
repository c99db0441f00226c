#include "io.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int ah_io_write_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

ssize_t ah_io_read(int fd, void *data, size_t len)
{
    for (;;) {
        ssize_t n = read(fd, data, len);
        if (n >= 0) {
            return n;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

void ah_io_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd); /* Linux has closed it even when it says EINTR */
        errno = saved;
        *fd = -1;
    }
}

int ah_io_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

void ah_io_event_set(int fd)
{
    int saved = errno;
    const uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    errno = saved;
}

void ah_io_event_clear(int fd)
{
    int saved = errno;
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
    errno = saved;
}
