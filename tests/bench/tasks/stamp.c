/*
 * A task that says when it ended: `stamp [NS]` sleeps until the monotonic clock shows NS, then
 * prints that clock in nanoseconds with one write as its last act.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec t;
    if (argc > 1) {
        int64_t until = strtoll(argv[1], NULL, 10);
        t = (struct timespec){.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    }
    char text[32];
    clock_gettime(CLOCK_MONOTONIC, &t);
    int len =
        snprintf(text, sizeof text, "%" PRId64 "\n", t.tv_sec * INT64_C(1000000000) + t.tv_nsec);
    ssize_t n = write(STDOUT_FILENO, text, (size_t)len);
    _exit(n == len ? 0 : 1);
}
