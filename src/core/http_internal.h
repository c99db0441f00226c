/*
 * Shared by the files of the HTTP client, and by nobody else:
 * http.c          the client: waiting, time limits, the end of a transfer
 * http_request.c  a request: making it, what comes in, what is asked of it, redirects
 * http_options.c  checks of what the caller gave, and turning it into libcurl's terms
 * http_replay.c   a recorded answer as a request
 */
#pragma once

#include "http.h"

#include <curl/curl.h>
#include <sys/queue.h>

#define AH_HTTP_UNREAD ((size_t)256 * 1024) /* pause when this many body bytes lie unread */

TAILQ_HEAD(ah_http_list, ah_http_request);

struct ah_http {
    CURLM *multi;
    struct ah_http_list all;
    struct ah_http_list ready; /* with news */
};

struct ah_http_request {
    struct ah_http *http; /* NULL once the client is gone */
    TAILQ_ENTRY(ah_http_request) in_all;
    TAILQ_ENTRY(ah_http_request) in_ready;
    bool is_ready;
    uint64_t id;

    /* What is asked; `easy` is NULL once the transfer has ended. */
    CURL *easy;
    CURLU *url;
    struct curl_slist *headers;
    char *body;
    double timeout, connect_timeout, stall_timeout;
    size_t max_body, max_headers;
    int redirects_left, redirects;
    bool is_head, is_get;
    char error_detail[CURL_ERROR_SIZE];

    /* Time, on ah_clock_now's scale. */
    int64_t deadline, connect_deadline;
    int64_t activity; /* when the last byte went in or out */
    int64_t stall_ns;
    curl_off_t seen_in, seen_out;
    double seen_connected; /* libcurl's time of the connection of the hop before */

    /* What came. */
    enum ah_http_state state;
    int status, version;
    struct ah_buf answer; /* of the headers: name NUL value NUL, and so on */
    size_t header_bytes;  /* of this hop, all blocks of headers */
    bool in_block;        /* the status line of a block of headers has come */
    bool is_redirect;     /* the headers are in, and will be followed when the transfer ends */
    bool is_paused;
    bool has_moved; /* a byte did, and `activity` does not know: they come too often for a clock */
    bool keep;
    struct ah_buf unread;
    struct ah_buf kept;
    size_t want;
    size_t dropped; /* body bytes of redirects */
    uint64_t total;
    struct ah_http_timings timings;

    const char *code; /* why it failed, maybe noted by a callback before the transfer has ended */
    char replayed_code[32];
    struct ah_err err;
    char where[160];     /* host:port, for messages */
    char *effective_url; /* without user info */
};

/* ---- http_options.c ---- */

/* Fills url, headers, body and limits of a new request, and its easy handle. */
int ah_http_options_apply(struct ah_http_request *request, const struct ah_http_options *options,
                          struct ah_err *err);

/* Sets `where`, `effective_url`, and the easy handle's URL and proxy after `url` changed. */
int ah_http_options_url(struct ah_http_request *request);

/* Drops all headers but those that say nothing about who asks. */
void ah_http_options_drop_secrets(struct ah_http_request *request);

/* Makes it a GET without a body. */
void ah_http_options_make_get(struct ah_http_request *request);

/* ---- http_env.c: what the environment says, where libcurl does not look ---- */

/* Sets the proxy for `url`, if HTTP_PROXY is it. 0, or -1 when out of memory. */
int ah_http_env_proxy(struct ah_http_request *request);

/* Sets the certificates to trust: those of `ca_file`, or SSL_CERT_FILE when it is NULL, or else
 * leaves the system's. 0, or -1 when out of memory. */
int ah_http_env_ca(struct ah_http_request *request, const char *ca_file);

/* ---- http_request.c ---- */

/* Starts the clock of the next hop and hands the transfer to libcurl. */
int ah_http_request_launch(struct ah_http_request *request);

/* Goes where the redirect points: 0, or -EINVAL with code and err set. */
int ah_http_request_follow(struct ah_http_request *request);

/* Notes the first reason of a failure; the transfer has still to be ended. */
void ah_http_request_refuse(struct ah_http_request *request, const char *code, const char *format,
                            ...) __attribute__((format(printf, 3, 4)));

/* ---- http.c ---- */

/* One of libcurl's times of a transfer that has not ended, in seconds. */
double ah_http_time(const struct ah_http_request *request, CURLINFO info);

void ah_http_post(struct ah_http_request *request);

/* Takes the transfer from libcurl and frees what only it needed. */
void ah_http_stop(struct ah_http_request *request);

/* Ends the request: failed when a code is set, else done. */
void ah_http_finish(struct ah_http_request *request);
