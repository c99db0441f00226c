#include "http_internal.h"

#include "clock.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DROPPED_MOST ((size_t)64 * 1024) /* of a redirect's body, to keep its connection */

static int64_t deadline_in(double seconds)
{
    return isinf(seconds) ? AH_CLOCK_NEVER : ah_clock_now() + ah_clock_from_seconds(seconds);
}

void ah_http_request_refuse(struct ah_http_request *request, const char *code, const char *format,
                            ...)
{
    if (request->code != NULL) {
        return;
    }
    char message[sizeof request->err.msg];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    for (char *c = message; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = ' '; /* libcurl's part of it may quote the server */
        }
    }
    request->code = code;
    ah_err_set(&request->err, -EIO, "%s", message);
}

/* ---- what comes in; these are called by libcurl ---- */

static bool has_bytes_enough(const struct ah_http_request *request)
{
    return request->unread.len > 0 && request->unread.len >= request->want;
}

static bool is_redirect_status(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static const char *location_of(const struct ah_http_request *request)
{
    size_t cursor = 0;
    const char *name;
    const char *value;
    while (ah_http_request_header(request, &cursor, &name, &value)) {
        if (strcmp(name, "location") == 0) {
            return value;
        }
    }
    return NULL;
}

static int version_number(long version)
{
    switch (version) {
    case CURL_HTTP_VERSION_1_0:
        return 10;
    case CURL_HTTP_VERSION_1_1:
        return 11;
    case CURL_HTTP_VERSION_3:
        return 30;
    default:
        return 20;
    }
}

/* The blank line behind a block of headers: an interim answer, a redirect, or the real one. */
static void end_block(struct ah_http_request *request)
{
    long status = 0;
    long version = 0;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    request->in_block = false;
    if (status < 200) {
        return;
    }
    if (is_redirect_status(status) && request->redirects > 0 && location_of(request) != NULL) {
        request->is_redirect = true;
        return;
    }
    curl_easy_getinfo(request->easy, CURLINFO_HTTP_VERSION, &version);
    request->version = version_number(version);
    request->status = (int)status;
    request->state = AH_HTTP_HEADERS;
    ah_http_post(request);
}

static int add_line(struct ah_buf *answer, const char *line, size_t len)
{
    if (len > 0 && (*line == ' ' || *line == '\t') && answer->len > 0) {
        answer->data[answer->len - 1] = ' '; /* a folded line goes on with the value before */
        while (len > 0 && (*line == ' ' || *line == '\t')) {
            line++;
            len--;
        }
        return ah_buf_add(answer, line, len) < 0 ? -ENOMEM : ah_buf_add(answer, "", 1);
    }
    const char *colon = memchr(line, ':', len);
    if (colon == NULL) {
        return 0;
    }
    size_t start = answer->len;
    if (ah_buf_add(answer, line, (size_t)(colon - line)) < 0 || ah_buf_add(answer, "", 1) < 0) {
        return -ENOMEM;
    }
    for (char *c = answer->data + start; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
    }
    const char *end = line + len;
    const char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    if (ah_buf_add(answer, value, (size_t)(end - value)) < 0) {
        return -ENOMEM;
    }
    return ah_buf_add(answer, "", 1);
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct ah_http_request *request = arg;
    size_t len = size * count;
    size_t whole = len;

    request->activity = ah_clock_now();
    if (len > request->max_headers - request->header_bytes) {
        ah_http_request_refuse(request, "TOO_LARGE",
                               "the headers of the answer of %s are larger than %zu bytes "
                               "(max_headers)",
                               request->where, request->max_headers);
        return 0;
    }
    request->header_bytes += len;
    if (request->state >= AH_HTTP_HEADERS || request->is_redirect) {
        return whole; /* trailers */
    }
    if (!request->in_block) {
        request->in_block = true; /* the status line */
        request->answer.len = 0;
        return whole;
    }
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
        len--;
    }
    if (len == 0) {
        end_block(request);
    } else if (memchr(line, '\0', len) != NULL) {
        ah_http_request_refuse(request, "PROTOCOL", "a header of the answer of %s has a NUL in it",
                               request->where);
        return 0;
    } else if (add_line(&request->answer, line, len) < 0) {
        ah_http_request_refuse(request, "NOMEM", "out of memory for the headers of an answer");
        return 0;
    }
    return whole;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct ah_http_request *request = arg;
    size_t len = size * count;

    request->has_moved = true;
    if (request->is_redirect) {
        request->dropped += len;
        return request->dropped > DROPPED_MOST ? 0 : len;
    }
    size_t full = request->want > AH_HTTP_UNREAD ? request->want : AH_HTTP_UNREAD;
    if (request->unread.len >= full) {
        request->is_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (request->max_body != 0 && len > request->max_body - request->total) {
        ah_http_request_refuse(request, "TOO_LARGE",
                               "the answer of %s is larger than %zu bytes (max_body)",
                               request->where, request->max_body);
        return 0;
    }
    int rc = request->keep ? ah_buf_add(&request->kept, data, len) : 0;
    if (rc == -EMSGSIZE) {
        ah_http_request_refuse(request, "TOO_LARGE",
                               "more than %zu bytes of the answer of %s were kept and not taken "
                               "(keep)",
                               request->kept.max, request->where);
        return 0;
    }
    if (rc < 0 || ah_buf_add(&request->unread, data, len) < 0) {
        ah_http_request_refuse(request, "NOMEM", "out of memory for the answer of %s, at %zu bytes",
                               request->where, request->unread.len);
        return 0;
    }
    request->total += len;
    request->state = AH_HTTP_BODY;
    if (has_bytes_enough(request)) {
        ah_http_post(request);
    }
    return len;
}

/* Called often; counts bytes on the wire, also those of a body that is sent and of a compressed one
 * that gives nothing yet. */
static int on_progress(void *arg, curl_off_t in_total, curl_off_t in, curl_off_t out_total,
                       curl_off_t out)
{
    struct ah_http_request *request = arg;
    (void)in_total;
    (void)out_total;
    if (in != request->seen_in || out != request->seen_out) {
        request->seen_in = in;
        request->seen_out = out;
        request->has_moved = true;
    }
    return 0;
}

/* ---- start and end ---- */

static void set_callbacks(struct ah_http_request *request)
{
    CURL *easy = request->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, request);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
}

int ah_http_request_launch(struct ah_http_request *request)
{
    request->state = AH_HTTP_CONNECTING;
    request->connect_deadline = deadline_in(request->connect_timeout);
    request->activity = ah_clock_now();
    request->seen_in = request->seen_out = 0;
    request->seen_connected = ah_http_time(request, CURLINFO_PRETRANSFER_TIME_T);
    request->header_bytes = 0;
    request->answer.len = 0;
    request->in_block = false;
    request->is_redirect = false;
    request->dropped = 0;
    request->error_detail[0] = '\0';
    return curl_multi_add_handle(request->http->multi, request->easy) == CURLM_OK ? 0 : -ENOMEM;
}

int ah_http_start(struct ah_http *http, uint64_t id, const struct ah_http_options *options,
                  struct ah_http_request **ret_request, struct ah_err *err)
{
    struct ah_http_request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        return ah_err_set(err, -ENOMEM, "out of memory for a request");
    }
    request->http = http;
    request->id = id;
    request->want = 1;
    ah_buf_init(&request->answer, 0);
    ah_buf_init(&request->unread, 0);
    ah_buf_init(&request->kept, AH_HTTP_KEPT_MAX);
    TAILQ_INSERT_TAIL(&http->all, request, in_all);

    int rc = -ENOMEM;
    request->easy = curl_easy_init();
    request->url = curl_url();
    if (request->easy == NULL || request->url == NULL) {
        ah_err_set(err, rc, "out of memory for a request");
        goto fail;
    }
    rc = ah_http_options_apply(request, options, err);
    if (rc < 0) {
        goto fail;
    }
    set_callbacks(request);
    request->deadline = deadline_in(request->timeout);
    rc = ah_http_request_launch(request);
    if (rc < 0) {
        ah_err_set(err, rc, "out of memory for a request");
        goto fail;
    }
    *ret_request = request;
    return 0;

fail:
    ah_http_request_free(request);
    return rc;
}

void ah_http_request_free(struct ah_http_request *request)
{
    if (request == NULL) {
        return;
    }
    ah_http_stop(request);
    if (request->http != NULL) {
        if (request->is_ready) {
            TAILQ_REMOVE(&request->http->ready, request, in_ready);
        }
        TAILQ_REMOVE(&request->http->all, request, in_all);
    }
    curl_url_cleanup(request->url);
    curl_free(request->effective_url);
    ah_buf_clear(&request->answer);
    ah_buf_clear(&request->unread);
    ah_buf_clear(&request->kept);
    free(request);
}

/* ---- redirects ----
 *
 * Not left to libcurl: it would carry every header but Authorization and Cookie to another host,
 * and keys travel in many headers (x-api-key, api-key, ...). */

/* Whether scheme, host and port are the same. */
static bool is_same_origin(const CURLU *a, const CURLU *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    bool same = true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && same; i++) {
        char *of_a = NULL;
        char *of_b = NULL;
        same = curl_url_get((CURLU *)a, parts[i], &of_a, CURLU_DEFAULT_PORT) == CURLUE_OK &&
               curl_url_get((CURLU *)b, parts[i], &of_b, CURLU_DEFAULT_PORT) == CURLUE_OK &&
               strcasecmp(of_a, of_b) == 0;
        curl_free(of_a);
        curl_free(of_b);
    }
    return same;
}

static bool has_scheme(const CURLU *url, const char *wanted)
{
    char *scheme = NULL;
    bool has = curl_url_get((CURLU *)url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
               strcasecmp(scheme, wanted) == 0;
    curl_free(scheme);
    return has;
}

static int refuse_redirect(struct ah_http_request *request, const char *why)
{
    ah_http_request_refuse(request, "REDIRECT", "%s redirects %s", request->where, why);
    return -EINVAL;
}

int ah_http_request_follow(struct ah_http_request *request)
{
    long status = 0;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);

    if (request->redirects_left-- == 0) {
        ah_http_request_refuse(request, "REDIRECT", "more than %d redirects, the last from %s",
                               request->redirects, request->where);
        return -EINVAL;
    }
    CURLU *next = curl_url_dup(request->url);
    if (next == NULL || curl_url_set(next, CURLUPART_URL, location_of(request),
                                     CURLU_URLENCODE | CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
        curl_url_cleanup(next);
        return refuse_redirect(request, "to something that is not a URL");
    }
    bool is_other = !is_same_origin(request->url, next);
    bool is_weaker = has_scheme(request->url, "https") && has_scheme(next, "http");
    curl_url_cleanup(request->url);
    request->url = next;
    if (!has_scheme(next, "http") && !has_scheme(next, "https")) {
        return refuse_redirect(request, "to something other than http:// or https://");
    }
    if (status == 303 || ((status == 301 || status == 302) && request->body != NULL)) {
        if (!request->is_head) {
            ah_http_options_make_get(request);
        }
    }
    if (is_weaker && request->body != NULL) {
        return refuse_redirect(request, "from https to http, which would send the body in clear");
    }
    if (is_other) {
        curl_url_set(next, CURLUPART_USER, NULL, 0);
        curl_url_set(next, CURLUPART_PASSWORD, NULL, 0);
        ah_http_options_drop_secrets(request);
    }
    curl_multi_remove_handle(request->http->multi, request->easy);
    if (ah_http_options_url(request) < 0 || ah_http_request_launch(request) < 0) {
        ah_http_request_refuse(request, "NOMEM", "out of memory for a redirect");
        return -EINVAL;
    }
    return 0;
}

/* ---- what is asked of it ---- */

enum ah_http_state ah_http_request_state(const struct ah_http_request *request)
{
    return request->state;
}

int ah_http_request_status(const struct ah_http_request *request)
{
    return request->status;
}

int ah_http_request_version(const struct ah_http_request *request)
{
    return request->version;
}

const char *ah_http_request_url(const struct ah_http_request *request)
{
    return request->effective_url;
}

bool ah_http_request_header(const struct ah_http_request *request, size_t *cursor,
                            const char **ret_name, const char **ret_value)
{
    if (*cursor >= request->answer.len) {
        return false;
    }
    const char *name = request->answer.data + *cursor;
    const char *value = name + strlen(name) + 1;
    *ret_name = name;
    *ret_value = value;
    *cursor += strlen(name) + strlen(value) + 2;
    return true;
}

static void resume(struct ah_http_request *request)
{
    size_t full = request->want > AH_HTTP_UNREAD ? request->want : AH_HTTP_UNREAD;
    if (!request->is_paused || request->easy == NULL || request->unread.len >= full) {
        return;
    }
    request->is_paused = false;
    request->activity = ah_clock_now();
    if (curl_easy_pause(request->easy, CURLPAUSE_CONT) != CURLE_OK) {
        /* What libcurl had kept back is lost. */
        ah_http_request_refuse(request, "FAILED", "the answer of %s could not be read on",
                               request->where);
        ah_http_finish(request);
    }
}

/* Swaps the bytes of `from` into `buf`; the memory of `buf` is used for what comes next. */
static void swap_out(struct ah_buf *from, struct ah_buf *buf)
{
    struct ah_buf taken = *from;
    from->data = buf->data;
    from->cap = buf->cap;
    from->len = 0;
    buf->data = taken.data;
    buf->cap = taken.cap;
    buf->len = taken.len;
}

void ah_http_request_take_kept(struct ah_http_request *request, struct ah_buf *buf)
{
    swap_out(&request->kept, buf);
}

size_t ah_http_request_take(struct ah_http_request *request, struct ah_buf *buf)
{
    swap_out(&request->unread, buf);
    resume(request);
    return buf->len;
}

void ah_http_request_want(struct ah_http_request *request, size_t count)
{
    request->want = count > 0 ? count : 1;
    if (has_bytes_enough(request)) {
        ah_http_post(request);
    }
    resume(request);
}

size_t ah_http_request_unread(const struct ah_http_request *request)
{
    return request->unread.len;
}

uint64_t ah_http_request_total(const struct ah_http_request *request)
{
    return request->total;
}

const char *ah_http_request_error(const struct ah_http_request *request, const char **ret_message)
{
    if (request->state != AH_HTTP_FAILED) {
        return NULL;
    }
    if (ret_message != NULL) {
        *ret_message = request->err.msg;
    }
    return request->code;
}

struct ah_http_timings ah_http_request_timings(const struct ah_http_request *request)
{
    return request->timings;
}
