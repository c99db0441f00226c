#include "wake.h"

#include "io.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct ah_wake {
    pthread_mutex_t lock; /* protects all below but fd */
    uint64_t last_id;
    uint64_t *pending;
    size_t count;
    size_t cap;
    bool all;
    int fd;
};

int ah_wake_new(struct ah_wake **ret_wake)
{
    struct ah_wake *wake = calloc(1, sizeof *wake);
    if (wake == NULL) {
        return -ENOMEM;
    }
    wake->fd = ah_io_eventfd();
    if (wake->fd < 0) {
        int rc = wake->fd;
        free(wake);
        return rc;
    }
    pthread_mutex_init(&wake->lock, NULL);
    *ret_wake = wake;
    return 0;
}

void ah_wake_free(struct ah_wake *wake)
{
    if (wake == NULL) {
        return;
    }
    ah_io_close(&wake->fd);
    pthread_mutex_destroy(&wake->lock);
    free(wake->pending);
    free(wake);
}

uint64_t ah_wake_new_id(struct ah_wake *wake)
{
    pthread_mutex_lock(&wake->lock);
    uint64_t id = ++wake->last_id;
    pthread_mutex_unlock(&wake->lock);
    return id;
}

static bool is_pending(const struct ah_wake *wake, uint64_t id)
{
    /* The newest are the likeliest repeats; a repeat further back costs one needless look. */
    size_t from = wake->count > 8 ? wake->count - 8 : 0;
    for (size_t i = from; i < wake->count; i++) {
        if (wake->pending[i] == id) {
            return true;
        }
    }
    return false;
}

void ah_wake_post(struct ah_wake *wake, uint64_t id)
{
    pthread_mutex_lock(&wake->lock);
    if (!wake->all && !is_pending(wake, id)) {
        if (wake->count == wake->cap) {
            size_t cap = wake->cap == 0 ? 64 : wake->cap * 2;
            uint64_t *grown = realloc(wake->pending, cap * sizeof *grown);
            if (grown == NULL) {
                wake->all = true;
            } else {
                wake->pending = grown;
                wake->cap = cap;
            }
        }
        if (wake->count < wake->cap) {
            wake->pending[wake->count++] = id;
        }
    }
    pthread_mutex_unlock(&wake->lock);
    ah_io_event_set(wake->fd);
}

int ah_wake_fd(const struct ah_wake *wake)
{
    return wake->fd;
}

size_t ah_wake_take(struct ah_wake *wake, uint64_t *ids, size_t cap, bool *ret_all)
{
    /* The eventfd is cleared before the list is read: a post in between sets it again. */
    ah_io_event_clear(wake->fd);
    pthread_mutex_lock(&wake->lock);
    size_t n = wake->count < cap ? wake->count : cap;
    if (n > 0) {
        memcpy(ids, wake->pending, n * sizeof *ids);
        memmove(wake->pending, wake->pending + n, (wake->count - n) * sizeof *ids);
        wake->count -= n;
    }
    *ret_all = wake->all;
    wake->all = false;
    size_t left = wake->count;
    pthread_mutex_unlock(&wake->lock);
    if (left > 0) {
        ah_io_event_set(wake->fd);
    }
    return n;
}
