#include "clock.h"

#include <limits.h>
#include <time.h>

#define NS_PER_SEC 1000000000LL

int64_t ah_clock_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

double ah_clock_wall(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / (double)NS_PER_SEC;
}

int64_t ah_clock_from_seconds(double seconds)
{
    if (!(seconds > 0)) {
        return 0;
    }
    /* About 146 years: far enough, and adding it to now cannot overflow. */
    const double most = (double)(INT64_MAX / 2) / (double)NS_PER_SEC;
    if (seconds >= most) {
        return INT64_MAX / 2;
    }
    return (int64_t)(seconds * (double)NS_PER_SEC);
}

int ah_clock_poll_timeout(int64_t deadline)
{
    if (deadline == AH_CLOCK_NEVER) {
        return -1;
    }
    int64_t left = deadline - ah_clock_now();
    if (left <= 0) {
        return 0;
    }
    int64_t ms = (left + 999999) / 1000000;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}
