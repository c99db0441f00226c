/*
 * How other threads tell the main thread that something is ready.
 *
 * Whoever can be waited for (a queue, a task, an HTTP request, a watched descriptor) has an id from
 * ah_wake_new_id. When it has news, any thread posts the id; the reactor sleeps on one eventfd and
 * hands the posted ids to Lua, which knows who waits for them. An id is only a hint that it is
 * worth looking: a waiter looks at the object itself and may find nothing new.
 *
 * Thread-safe but for _new and _free. The lock is a leaf: nothing is called while it is held.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ah_wake;

int ah_wake_new(struct ah_wake **ret_wake);
void ah_wake_free(struct ah_wake *wake); /* NULL is allowed */

/* Never 0, never given twice. */
uint64_t ah_wake_new_id(struct ah_wake *wake);

/* Posts id. Posting one that is already pending does nothing. When there is no memory to note it,
 * every waiter is told to look (see ah_wake_take). */
void ah_wake_post(struct ah_wake *wake, uint64_t id);

/* The eventfd to poll for reading. Borrowed. */
int ah_wake_fd(const struct ah_wake *wake);

/* Moves up to `cap` pending ids to `ids` and returns how many; the eventfd stays readable while
 * more are pending. Sets *ret_all when ids may have been lost for want of memory, so that every
 * waiter has to look. */
size_t ah_wake_take(struct ah_wake *wake, uint64_t *ids, size_t cap, bool *ret_all);
