/*
 * The one place where the main thread waits: HTTP transfers, ids posted by other threads, watched
 * descriptors (the terminal) and signals.
 *
 * Main thread only. What is ready comes out as ids (see wake.h); level-triggered for descriptors:
 * a watched descriptor that is still readable is reported again by the next wait.
 */
#pragma once

#include "err.h"
#include "wake.h"

#include <stdbool.h>

struct ah_reactor;
struct ah_http;

int ah_reactor_new(struct ah_reactor **ret_reactor, struct ah_err *err);
void ah_reactor_free(struct ah_reactor *reactor); /* NULL is allowed */

/* Borrowed; lives as long as the reactor. */
struct ah_wake *ah_reactor_wake(struct ah_reactor *reactor);

/* The HTTP client of this reactor, made at the first call (libcurl is not set up before someone
 * needs it). Borrowed. */
int ah_reactor_http(struct ah_reactor *reactor, struct ah_http **ret_http, struct ah_err *err);

/* Reports *ret_id whenever fd is readable (or has hung up). fd is borrowed and has to stay open
 * until unwatched. At most AH_REACTOR_MAX_WATCHES at a time: -ENOSPC. */
int ah_reactor_watch(struct ah_reactor *reactor, int fd, uint64_t *ret_id, struct ah_err *err);
void ah_reactor_unwatch(struct ah_reactor *reactor, uint64_t id);

/* Ready while a caught signal (signals.h) is noted and not yet taken. */
uint64_t ah_reactor_signal_id(const struct ah_reactor *reactor);

#define AH_REACTOR_MAX_WATCHES 64

/* Waits until something is ready or `deadline` (ah_clock_now's scale, AH_CLOCK_NEVER) has passed,
 * and gives at most `cap` ids (cap > AH_REACTOR_MAX_WATCHES), possibly none; what did not fit comes
 * with the next wait. *ret_all: see ah_wake_take. Returns the count or a negative errno. */
int ah_reactor_wait(struct ah_reactor *reactor, int64_t deadline, uint64_t *ids, size_t cap,
                    bool *ret_all);
