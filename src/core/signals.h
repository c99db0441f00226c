/*
 * Signals as events: a handler notes the signal and makes an eventfd readable.
 *
 * The mutable globals of the program live here and in terminal.c, because a signal handler has no
 * argument to find its state by. Handlers rather than a blocked mask and a signalfd: exec gives a
 * child of io.popen its defaults back, while a blocked mask would be inherited.
 */
#pragma once

#include <stdbool.h>

/* With catch: from now on `signal` is noted instead of doing what it did. Without: what it did
 * before the catch is back, be it a handler or the default. Either is done once, a second time
 * changes nothing. 0 or negative errno; -EINVAL for a signal outside 1..64. Main thread only. */
int ah_signals_catch(int signal, bool catch);

/* The eventfd that becomes readable when a caught signal arrives; -1 before the first catch. */
int ah_signals_fd(void);

/* One noted signal, and forgets it; 0 when there is none. The caller clears the eventfd before it
 * looks. */
int ah_signals_take(void);

/* True when a signal is noted. */
bool ah_signals_pending(void);

/* True when that one is noted. */
bool ah_signals_waits(int signal);
