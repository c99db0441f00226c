#include "http_internal.h"

#include "clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_CONNECTIONS 16L

/* ---- making and freeing ---- */

int ah_http_new(struct ah_http **ret_http, struct ah_err *err)
{
    /* Counted by libcurl: only the first call sets it up. */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return ah_err_set(err, -ENOMEM, "libcurl could not be set up");
    }
    struct ah_http *http = calloc(1, sizeof *http);
    CURLM *multi = http != NULL ? curl_multi_init() : NULL;
    if (multi == NULL) {
        free(http);
        curl_global_cleanup();
        return ah_err_set(err, -ENOMEM, "out of memory for the HTTP client");
    }
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS);
    http->multi = multi;
    TAILQ_INIT(&http->all);
    TAILQ_INIT(&http->ready);
    *ret_http = http;
    return 0;
}

void ah_http_free(struct ah_http *http)
{
    if (http == NULL) {
        return;
    }
    struct ah_http_request *request;
    while ((request = TAILQ_FIRST(&http->all)) != NULL) {
        ah_http_request_refuse(request, "CLOSED", "the HTTP client was closed");
        if (request->easy != NULL) {
            ah_http_finish(request);
        }
        TAILQ_REMOVE(&http->all, request, in_all);
        request->http = NULL;
        request->is_ready = false;
    }
    curl_multi_cleanup(http->multi);
    free(http);
    curl_global_cleanup();
}

/* ---- news ---- */

void ah_http_post(struct ah_http_request *request)
{
    if (!request->is_ready && request->http != NULL) {
        request->is_ready = true;
        TAILQ_INSERT_TAIL(&request->http->ready, request, in_ready);
    }
}

size_t ah_http_take_ready(struct ah_http *http, uint64_t *ids, size_t cap)
{
    size_t count = 0;
    struct ah_http_request *request;
    while (count < cap && (request = TAILQ_FIRST(&http->ready)) != NULL) {
        TAILQ_REMOVE(&http->ready, request, in_ready);
        request->is_ready = false;
        ids[count++] = request->id;
    }
    return count;
}

/* ---- the end of a transfer ---- */

double ah_http_time(const struct ah_http_request *request, CURLINFO info)
{
    curl_off_t microseconds = 0;
    curl_easy_getinfo(request->easy, info, &microseconds);
    return (double)microseconds / 1e6;
}

void ah_http_stop(struct ah_http_request *request)
{
    CURL *easy = request->easy;
    if (easy != NULL) {
        request->timings = (struct ah_http_timings){
            .connected = ah_http_time(request, CURLINFO_PRETRANSFER_TIME_T),
            .first_byte = ah_http_time(request, CURLINFO_STARTTRANSFER_TIME_T),
            .total = ah_http_time(request, CURLINFO_TOTAL_TIME_T),
        };
        if (request->http != NULL) {
            curl_multi_remove_handle(request->http->multi, easy);
        }
        curl_easy_cleanup(easy);
        request->easy = NULL;
    }
    curl_slist_free_all(request->headers);
    request->headers = NULL;
    free(request->body);
    request->body = NULL;
}

void ah_http_finish(struct ah_http_request *request)
{
    ah_http_stop(request);
    request->is_paused = false;
    request->state = request->code != NULL ? AH_HTTP_FAILED : AH_HTTP_DONE;
    ah_http_post(request);
}

/* libcurl does not say whether it was the proxy that it could not reach, but names whom it tried.
 */
static void explain_connect(struct ah_http_request *request, const char *detail)
{
    char *host = NULL;
    long reason = 0;
    curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &reason);
    if (curl_url_get(request->url, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
        size_t len = strcspn(host, "]");
        host[len] = '\0';
        const char *bare = *host == '[' ? host + 1 : host;
        if (strstr(detail, bare) == NULL) {
            ah_http_request_refuse(request, "PROXY",
                                   "cannot connect to the proxy for %s: %s; check http_proxy, "
                                   "https_proxy and no_proxy",
                                   request->where, detail);
        }
    }
    curl_free(host);
    ah_http_request_refuse(request, "CONNECT", "cannot connect to %s: %s", request->where,
                           reason != 0 ? strerror((int)reason) : detail);
}

/* Puts libcurl's reason into our words. `detail` is its own sentence. */
static void explain(struct ah_http_request *request, CURLcode result, const char *detail)
{
    const char *where = request->where;
    long proxy_status = 0;
    curl_easy_getinfo(request->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
    if (proxy_status >= 300 && request->status == 0) {
        ah_http_request_refuse(request, "PROXY", "the proxy refused to connect to %s: status %ld",
                               where, proxy_status);
        return;
    }
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        ah_http_request_refuse(request, "RESOLVE",
                               "cannot find the address of %s; check the host name and the network",
                               where);
        break;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
        ah_http_request_refuse(request, "PROXY",
                               "the proxy for %s does not work: %s; check http_proxy, https_proxy "
                               "and no_proxy",
                               where, detail);
        break;
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
        explain_connect(request, detail);
        break;
    case CURLE_OPERATION_TIMEDOUT: /* libcurl was given no other limit */
        ah_http_request_refuse(request, "TIMEOUT_CONNECT",
                               "no connection to %s within %g s (connect_timeout)", where,
                               request->connect_timeout);
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        ah_http_request_refuse(request, "TLS",
                               "the certificate of %s cannot be trusted: %s; SSL_CERT_FILE or "
                               "ca_file names the authorities to trust",
                               where, detail);
        break;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_USE_SSL_FAILED:
        ah_http_request_refuse(request, "TLS", "no TLS connection to %s: %s", where, detail);
        break;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        if (request->status == 0) {
            ah_http_request_refuse(request, "CLOSED",
                                   "%s closed the connection without an answer: "
                                   "%s",
                                   where, detail);
        } else {
            ah_http_request_refuse(request, "CLOSED",
                                   "%s closed the connection in the middle of its answer, after "
                                   "%llu bytes: %s",
                                   where, (unsigned long long)request->total, detail);
        }
        break;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
        ah_http_request_refuse(request, "PROTOCOL", "the answer of %s is not proper HTTP: %s",
                               where, detail);
        break;
    case CURLE_OUT_OF_MEMORY:
        ah_http_request_refuse(request, "NOMEM", "out of memory in a request to %s", where);
        break;
    default:
        ah_http_request_refuse(request, "FAILED", "the request to %s failed: %s", where, detail);
        break;
    }
}

static void transfer_ended(struct ah_http_request *request, CURLcode result)
{
    /* A redirect's body is of no use, so neither is the way it ended. */
    if (request->is_redirect && request->code == NULL) {
        if (ah_http_request_follow(request) == 0) {
            return;
        }
    } else if (result != CURLE_OK) {
        const char *detail = request->error_detail;
        explain(request, result, *detail != '\0' ? detail : curl_easy_strerror(result));
    } else if (request->status == 0) {
        ah_http_request_refuse(request, "PROTOCOL", "the answer of %s has no headers",
                               request->where);
    }
    ah_http_finish(request);
}

/* ---- time limits ---- */

static bool counts_stall(const struct ah_http_request *request)
{
    return request->state != AH_HTTP_CONNECTING && !request->is_paused;
}

/* When the next of its limits is reached. */
static int64_t next_limit(const struct ah_http_request *request)
{
    int64_t next = request->deadline;
    if (request->state == AH_HTTP_CONNECTING && request->connect_deadline < next) {
        next = request->connect_deadline;
    }
    if (counts_stall(request) && request->activity + request->stall_ns < next) {
        next = request->activity + request->stall_ns;
    }
    return next;
}

static void refuse_late(struct ah_http_request *request, int64_t now)
{
    const char *where = request->where;
    if (request->state == AH_HTTP_CONNECTING && request->connect_deadline <= now) {
        ah_http_request_refuse(request, "TIMEOUT_CONNECT",
                               "no connection to %s within %g s (connect_timeout)", where,
                               request->connect_timeout);
    } else if (request->deadline <= now) {
        ah_http_request_refuse(request, "TIMEOUT",
                               "no complete answer from %s within %g s (timeout)", where,
                               request->timeout);
    } else if (request->status == 0) {
        ah_http_request_refuse(request, "TIMEOUT_STALL",
                               "no answer from %s for %g s "
                               "(stall_timeout)",
                               where, request->stall_timeout);
    } else {
        ah_http_request_refuse(request, "TIMEOUT_STALL",
                               "nothing more from %s for %g s, after %llu bytes (stall_timeout)",
                               where, request->stall_timeout, (unsigned long long)request->total);
    }
}

/* Whether TLS, proxy and all are done with. The handle keeps the time of the hop before. */
static bool is_connected(const struct ah_http_request *request)
{
    double connected = ah_http_time(request, CURLINFO_PRETRANSFER_TIME_T);
    return connected > 0 && connected != request->seen_connected;
}

/* Ends what is late; returns when the next limit is reached. */
static int64_t check_limits(struct ah_http *http)
{
    int64_t now = ah_clock_now();
    int64_t first = AH_CLOCK_NEVER;
    struct ah_http_request *request;
    TAILQ_FOREACH(request, &http->all, in_all)
    {
        if (request->easy == NULL) {
            continue;
        }
        if (request->state == AH_HTTP_CONNECTING && is_connected(request)) {
            request->state = AH_HTTP_WAITING;
            request->activity = now;
        }
        if (request->has_moved) {
            request->has_moved = false;
            request->activity = now;
        }
        int64_t next = next_limit(request);
        if (next <= now) {
            refuse_late(request, now);
            ah_http_finish(request);
        } else if (next < first) {
            first = next;
        }
    }
    return first;
}

/* ---- waiting ---- */

static int code_of(CURLMcode rc)
{
    return rc == CURLM_OK ? 0 : rc == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO;
}

/* Moves all on as far as it goes without waiting. */
static int advance(struct ah_http *http, int64_t *ret_limit)
{
    int running;
    int left;
    const CURLMsg *msg;
    int rc = code_of(curl_multi_perform(http->multi, &running));
    if (rc < 0) {
        return rc;
    }
    while ((msg = curl_multi_info_read(http->multi, &left)) != NULL) {
        if (msg->msg != CURLMSG_DONE) {
            continue;
        }
        CURLcode result = msg->data.result; /* msg is gone once the handle is removed */
        char *request = NULL;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &request);
        transfer_ended((struct ah_http_request *)request, result);
    }
    *ret_limit = check_limits(http);
    return 0;
}

/* Sets revents of all fds; true when one is ready. Asked here once more, because libcurl passes on
 * no hang-up. */
static bool look_at_fds(struct curl_waitfd *fds, unsigned count)
{
    struct pollfd asked[32];
    bool any = false;
    for (unsigned start = 0; start < count; start += 32) {
        unsigned some = count - start < 32 ? count - start : 32;
        for (unsigned i = 0; i < some; i++) {
            short events = fds[start + i].events;
            asked[i] = (struct pollfd){.fd = fds[start + i].fd};
            asked[i].events = (short)((events & CURL_WAIT_POLLIN ? POLLIN : 0) |
                                      (events & CURL_WAIT_POLLPRI ? POLLPRI : 0) |
                                      (events & CURL_WAIT_POLLOUT ? POLLOUT : 0));
        }
        int ready = poll(asked, some, 0);
        for (unsigned i = 0; i < some; i++) {
            short got = ready > 0 ? asked[i].revents : 0;
            fds[start + i].revents =
                (short)((got & (POLLIN | POLLHUP | POLLERR | POLLNVAL) ? CURL_WAIT_POLLIN : 0) |
                        (got & POLLPRI ? CURL_WAIT_POLLPRI : 0) |
                        (got & POLLOUT ? CURL_WAIT_POLLOUT : 0));
            any = any || got != 0;
        }
    }
    return any;
}

int ah_http_wait(struct ah_http *http, struct curl_waitfd *fds, unsigned count, int timeout_ms)
{
    int64_t deadline =
        timeout_ms < 0 ? AH_CLOCK_NEVER : ah_clock_now() + (int64_t)timeout_ms * 1000000;
    int64_t limit;
    int rc = advance(http, &limit);

    while (rc == 0) {
        bool has_news = !TAILQ_EMPTY(&http->ready);
        int wait_ms = has_news ? 0 : ah_clock_poll_timeout(limit < deadline ? limit : deadline);
        int events = 0;
        rc = code_of(
            curl_multi_poll(http->multi, fds, count, wait_ms < 0 ? INT_MAX : wait_ms, &events));
        bool is_fd_ready = look_at_fds(fds, count);
        if (rc == 0) {
            rc = advance(http, &limit);
        }
        if (is_fd_ready || !TAILQ_EMPTY(&http->ready) || ah_clock_now() >= deadline) {
            break;
        }
    }
    return rc;
}
