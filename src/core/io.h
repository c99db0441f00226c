/*
 * System calls with their loose ends tied: EINTR is handled here once, writes are whole, and every
 * descriptor is close-on-exec from birth.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Writes all of it. 0 or negative errno. For files, pipes and terminals, not for sockets. */
int ah_io_write_all(int fd, const void *data, size_t len);

/* One read: bytes, 0 at the end, negative errno. */
ssize_t ah_io_read(int fd, void *data, size_t len);

/* Closes *fd if it is >= 0 and sets it to -1. errno is kept. */
void ah_io_close(int *fd);

/* A new non-blocking, close-on-exec eventfd, or negative errno. */
int ah_io_eventfd(void);

/* Makes the eventfd readable; clears it. Both ignore a full or an empty counter. Safe in a signal
 * handler. */
void ah_io_event_set(int fd);
void ah_io_event_clear(int fd);
