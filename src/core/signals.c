#include "signals.h"

#include "io.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

#define MAX_SIGNAL 64

static volatile sig_atomic_t noted[MAX_SIGNAL + 1];
static struct sigaction before[MAX_SIGNAL + 1]; /* what a caught signal did */
static bool caught[MAX_SIGNAL + 1];
static int event_fd = -1; /* set before the first handler is installed, never changed after */

static void note_signal(int signal)
{
    if (signal > 0 && signal <= MAX_SIGNAL) {
        noted[signal] = 1;
        ah_io_event_set(event_fd);
    }
}

int ah_signals_catch(int signal, bool catch)
{
    if (signal < 1 || signal > MAX_SIGNAL) {
        return -EINVAL;
    }
    if (catch == caught[signal]) {
        return 0;
    }
    if (event_fd < 0) {
        event_fd = ah_io_eventfd();
        if (event_fd < 0) {
            return event_fd;
        }
    }
    struct sigaction note = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    sigemptyset(&note.sa_mask);
    int rc = catch ? sigaction(signal, &note, &before[signal])
                   : sigaction(signal, &before[signal], NULL);
    if (rc != 0) {
        return -errno;
    }
    caught[signal] = catch;
    return 0;
}

int ah_signals_fd(void)
{
    return event_fd;
}

int ah_signals_take(void)
{
    for (int signal = 1; signal <= MAX_SIGNAL; signal++) {
        if (noted[signal]) {
            noted[signal] = 0;
            return signal;
        }
    }
    return 0;
}

bool ah_signals_pending(void)
{
    for (int signal = 1; signal <= MAX_SIGNAL; signal++) {
        if (noted[signal]) {
            return true;
        }
    }
    return false;
}

bool ah_signals_waits(int signal)
{
    return signal > 0 && signal <= MAX_SIGNAL && noted[signal];
}
