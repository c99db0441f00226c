/*
 * Time. Durations and deadlines use the monotonic clock; only what is written for people and
 * ledgers uses the wall clock.
 */
#pragma once

#include <stdint.h>

/* Nanoseconds on the monotonic clock. */
int64_t ah_clock_now(void);

/* Seconds since the epoch, with a fraction. */
double ah_clock_wall(void);

/* Seconds (>= 0, may be infinite) to nanoseconds, cut to what fits; negative and NaN become 0. */
int64_t ah_clock_from_seconds(double seconds);

/* Milliseconds from now until `deadline` for poll(): 0 when it has passed, rounded up, at most
 * INT_MAX; -1 (wait for ever) when deadline is AH_CLOCK_NEVER. */
int ah_clock_poll_timeout(int64_t deadline);

#define AH_CLOCK_NEVER INT64_MAX
