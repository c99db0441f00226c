/*
 * The HTTP client: one libcurl multi handle, driven by the reactor, main thread only.
 *
 * Not for cookies, uploads from a stream or HTTP caching. It knows no Lua; it never blocks but in
 * ah_http_wait, and it never calls back: who started a request learns from ah_http_take_ready that
 * it is worth looking.
 *
 * Life of a request:
 *   1. ah_http_start copies all it needs and checks it. Nothing is sent before the next wait.
 *   2. ah_http_wait moves all requests on; ah_http_take_ready names those with news: the headers of
 *      the answer are in, body bytes came, it is done, it failed.
 *   3. ah_http_request_state, _status, _header, _take look at it. When about 256 KiB lie unread the
 *      transfer is paused until they are taken, so that a fast server cannot fill the memory.
 *   4. ah_http_request_free, at any time; it cancels what is still running.
 * An answer that was recorded (http_replay.c) is a request that has ended, and is read in the same
 * way.
 *
 * Time limits are kept on the monotonic clock. TLS certificates are always verified. Proxies come
 * from the environment, connections are kept and used again, HTTP/2 is used over TLS where the
 * server has it. Error messages are one line and never hold headers, bodies or a URL's user info.
 */
#pragma once

#include "buf.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>

struct ah_http;
struct ah_http_request;
struct curl_waitfd;

/* ---- the client ---- */

int ah_http_new(struct ah_http **ret_http, struct ah_err *err);

/* NULL is allowed. Requests that are still there fail with "CLOSED" and can only be freed. */
void ah_http_free(struct ah_http *http);

/* Moves all transfers on. When none has news it waits for at most `timeout_ms` (-1: for ever) until
 * one has or one of `fds` is ready; then it moves on once more. `revents` of all fds is set, and a
 * hang-up or an error counts as readable. 0 or a negative errno. */
int ah_http_wait(struct ah_http *http, struct curl_waitfd *fds, unsigned count, int timeout_ms);

/* Moves the ids of up to `cap` requests with news to `ids` and returns how many. */
size_t ah_http_take_ready(struct ah_http *http, uint64_t *ids, size_t cap);

/* ---- a request ---- */

struct ah_http_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

struct ah_http_part {
    const void *bytes;
    size_t len;
};

/* Fill with ah_http_options_init, then change. All pointers are borrowed for the call of
 * ah_http_start. Durations in seconds, HUGE_VAL for none. */
struct ah_http_options {
    const char *url;    /* http:// or https:// */
    const char *method; /* NULL: GET, or POST when there is a body */
    const struct ah_http_header *headers;
    size_t header_count;
    const void *body; /* NULL: none, or in parts */
    size_t body_len;
    const struct ah_http_part *parts; /* with `body` NULL: joined, they are the body */
    size_t part_count;
    double timeout;         /* for all of it; none */
    double connect_timeout; /* name look-up, connection, TLS; 10 */
    double stall_timeout;   /* without a byte in or out, also while waiting for the answer; 120 */
    size_t max_body;        /* decoded bytes; 0, the default: no limit */
    size_t max_headers;     /* 64 KiB */
    const char *ca_file;    /* PEM file of trusted certificates; NULL: SSL_CERT_FILE, or else the
                             * system's */
    int redirects;          /* to follow; -1: 5 for GET and HEAD without a body, else 0 */
    bool keep;              /* the body, a second time: see ah_http_request_take_kept */
};

void ah_http_options_init(struct ah_http_options *options);

enum ah_http_state {
    AH_HTTP_CONNECTING, /* no connection yet */
    AH_HTTP_WAITING,    /* connected; sending, or waiting for the answer */
    AH_HTTP_HEADERS,    /* the final headers are in */
    AH_HTTP_BODY,       /* and body bytes */
    AH_HTTP_DONE,       /* complete; bytes may be left to take */
    AH_HTTP_FAILED,     /* see ah_http_request_error; bytes that came before may be left to take */
};

/* -EINVAL (the message says what would be right) or -ENOMEM. The request is owned by the caller. */
int ah_http_start(struct ah_http *http, uint64_t id, const struct ah_http_options *options,
                  struct ah_http_request **ret_request, struct ah_err *err);

/* NULL is allowed. Never blocks. */
void ah_http_request_free(struct ah_http_request *request);

enum ah_http_state ah_http_request_state(const struct ah_http_request *request);

/* 0 until the final headers are in: those that are not followed as a redirect. */
int ah_http_request_status(const struct ah_http_request *request);

/* 10, 11, 20 or 30; 0 until the final headers are in. */
int ah_http_request_version(const struct ah_http_request *request);

/* Where the answer came from, without user info. Borrowed from the request. */
const char *ah_http_request_url(const struct ah_http_request *request);

/* Steps through the final headers: start with *cursor 0; false at the end. Names are in lower case
 * and may come more than once. Borrowed from the request. */
bool ah_http_request_header(const struct ah_http_request *request, size_t *cursor,
                            const char **ret_name, const char **ret_value);

/* Swaps the unread body bytes into `buf`, whose old bytes are dropped and whose memory is used for
 * what comes next. Returns their number, maybe 0. Lets a paused transfer go on. */
size_t ah_http_request_take(struct ah_http_request *request, struct ah_buf *buf);

#define AH_HTTP_KEPT_MAX ((size_t)256 * 1024 * 1024)

/* With `keep`: swaps the body bytes that came since the last call into `buf`, taken or not. The
 * request fails with "TOO_LARGE" when more than AH_HTTP_KEPT_MAX of them lie there. */
void ah_http_request_take_kept(struct ah_http_request *request, struct ah_buf *buf);

/* From now on body bytes are news only when at least `count` are unread (or at the end), and the
 * transfer is not paused before. 1 at the start; SIZE_MAX: the whole body at once. */
void ah_http_request_want(struct ah_http_request *request, size_t count);

/* Body bytes that wait to be taken. */
size_t ah_http_request_unread(const struct ah_http_request *request);

/* Body bytes received so far, taken or not. */
uint64_t ah_http_request_total(const struct ah_http_request *request);

/* NULL unless failed, else one of "RESOLVE", "CONNECT", "TLS", "TIMEOUT_CONNECT", "TIMEOUT_STALL",
 * "TIMEOUT", "TOO_LARGE", "CLOSED", "PROTOCOL", "PROXY", "REDIRECT", "NOMEM", "FAILED". Constant
 * text; the message (ret_message may be NULL) is borrowed from the request. */
const char *ah_http_request_error(const struct ah_http_request *request, const char **ret_message);

/* Seconds since the last hop of the request began; 0 for what has not happened. Valid once done. */
struct ah_http_timings {
    double connected;
    double first_byte;
    double total;
};
struct ah_http_timings ah_http_request_timings(const struct ah_http_request *request);

/* ---- a recorded answer ---- */

/* All borrowed for the call of ah_http_replay. */
struct ah_http_replay {
    const char *url;
    int status;
    const struct ah_http_header *headers;
    size_t header_count;
    const void *body;
    size_t body_len;
    const char *code, *message; /* NULL: it is complete; else it fails behind the body */
    bool keep;
};

/* A request that has got this answer and ended; it belongs to no client. -EINVAL: a header with a
 * NUL, or a code that is longer than 31 bytes. -ENOMEM. Owned by the caller. */
int ah_http_replay(const struct ah_http_replay *replay, struct ah_http_request **ret_request,
                   struct ah_err *err);
