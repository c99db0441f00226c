#include "reactor.h"

#include "clock.h"
#include "http.h"
#include "io.h"
#include "signals.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define OWN_FDS 2 /* the wake's eventfd and the signals' */

struct ah_reactor {
    struct ah_wake *wake;
    struct ah_http *http; /* NULL until somebody needs it */
    uint64_t signal_id;
    size_t watch_count;
    struct {
        uint64_t id;
        int fd;
    } watches[AH_REACTOR_MAX_WATCHES];
};

int ah_reactor_new(struct ah_reactor **ret_reactor, struct ah_err *err)
{
    struct ah_reactor *reactor = calloc(1, sizeof *reactor);
    if (reactor == NULL) {
        return ah_err_set(err, -ENOMEM, "out of memory");
    }
    int rc = ah_wake_new(&reactor->wake);
    if (rc < 0) {
        free(reactor);
        return ah_err_sys(err, rc, "cannot make an eventfd");
    }
    reactor->signal_id = ah_wake_new_id(reactor->wake);
    *ret_reactor = reactor;
    return 0;
}

void ah_reactor_free(struct ah_reactor *reactor)
{
    if (reactor == NULL) {
        return;
    }
    ah_http_free(reactor->http);
    ah_wake_free(reactor->wake);
    free(reactor);
}

struct ah_wake *ah_reactor_wake(struct ah_reactor *reactor)
{
    return reactor->wake;
}

int ah_reactor_http(struct ah_reactor *reactor, struct ah_http **ret_http, struct ah_err *err)
{
    if (reactor->http == NULL) {
        int rc = ah_http_new(&reactor->http, err);
        if (rc < 0) {
            return rc;
        }
    }
    *ret_http = reactor->http;
    return 0;
}

int ah_reactor_watch(struct ah_reactor *reactor, int fd, uint64_t *ret_id, struct ah_err *err)
{
    if (reactor->watch_count == AH_REACTOR_MAX_WATCHES) {
        return ah_err_set(err, -ENOSPC, "more than %d descriptors watched at once",
                          AH_REACTOR_MAX_WATCHES);
    }
    size_t at = reactor->watch_count++;
    reactor->watches[at].fd = fd;
    reactor->watches[at].id = ah_wake_new_id(reactor->wake);
    *ret_id = reactor->watches[at].id;
    return 0;
}

void ah_reactor_unwatch(struct ah_reactor *reactor, uint64_t id)
{
    for (size_t i = 0; i < reactor->watch_count; i++) {
        if (reactor->watches[i].id == id) {
            reactor->watches[i] = reactor->watches[--reactor->watch_count];
            return;
        }
    }
}

uint64_t ah_reactor_signal_id(const struct ah_reactor *reactor)
{
    return reactor->signal_id;
}

/* poll() itself, because curl_multi_poll does not report POLLHUP on extra descriptors: the end of a
 * pipe on stdin would make it return at once, for ever, without saying why. */
static int poll_fds(struct curl_waitfd *fds, unsigned count, int timeout_ms)
{
    struct pollfd pfds[OWN_FDS + AH_REACTOR_MAX_WATCHES];
    for (unsigned i = 0; i < count; i++) {
        pfds[i] = (struct pollfd){.fd = fds[i].fd, .events = POLLIN};
    }
    int n = poll(pfds, count, timeout_ms);
    if (n < 0 && errno != EINTR) {
        return -errno;
    }
    for (unsigned i = 0; i < count; i++) {
        fds[i].revents = n > 0 ? pfds[i].revents : 0;
    }
    return 0;
}

int ah_reactor_wait(struct ah_reactor *reactor, int64_t deadline, uint64_t *ids, size_t cap,
                    bool *ret_all)
{
    struct curl_waitfd fds[OWN_FDS + AH_REACTOR_MAX_WATCHES];
    unsigned count = 0;
    fds[count++] =
        (struct curl_waitfd){.fd = ah_wake_fd(reactor->wake), .events = CURL_WAIT_POLLIN};
    bool signals = ah_signals_fd() >= 0;
    if (signals) {
        fds[count++] = (struct curl_waitfd){.fd = ah_signals_fd(), .events = CURL_WAIT_POLLIN};
    }
    unsigned first_watch = count;
    for (size_t i = 0; i < reactor->watch_count; i++) {
        fds[count++] =
            (struct curl_waitfd){.fd = reactor->watches[i].fd, .events = CURL_WAIT_POLLIN};
    }
    int timeout_ms = ah_clock_poll_timeout(deadline);
    if (reactor->http != NULL) {
        int rc = ah_http_wait(reactor->http, fds, count, timeout_ms);
        if (rc < 0) {
            return rc;
        }
        timeout_ms = 0;
    }
    int rc = poll_fds(fds, count, timeout_ms);
    if (rc < 0) {
        return rc;
    }
    size_t n = 0;
    for (size_t i = 0; i < reactor->watch_count; i++) {
        if (fds[first_watch + i].revents != 0) {
            ids[n++] = reactor->watches[i].id;
        }
    }
    if (signals) {
        ah_io_event_clear(ah_signals_fd());
        if (ah_signals_pending()) {
            ah_io_event_set(ah_signals_fd()); /* until the last one is taken */
            ids[n++] = reactor->signal_id;
        }
    }
    *ret_all = false;
    if (fds[0].revents != 0) {
        n += ah_wake_take(reactor->wake, ids + n, cap - n, ret_all);
    }
    if (reactor->http != NULL && n < cap) {
        n += ah_http_take_ready(reactor->http, ids + n, cap - n);
    }
    return (int)n;
}
