#include "http_internal.h"

#include "clock.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BUFFER_SIZE 131072L /* bytes that libcurl reads at once */

void ah_http_options_init(struct ah_http_options *options)
{
    *options = (struct ah_http_options){
        .timeout = HUGE_VAL,
        .connect_timeout = 10,
        .stall_timeout = 120,
        .max_headers = 64 * 1024,
        .redirects = -1,
    };
}

/* ---- checks ---- */

static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL))) {
            return false;
        }
    }
    return len > 0;
}

static bool is_header(const struct ah_http_header *header, const char *name)
{
    return header->name_len == strlen(name) &&
           strncasecmp(header->name, name, header->name_len) == 0;
}

/* A name that is not valid is not shown: it may be a whole header, with a key in it. */
static int check_header(const struct ah_http_header *header, struct ah_err *err)
{
    if (!is_token(header->name, header->name_len) || header->name_len > 200) {
        return ah_err_set(err, -EINVAL,
                          "a header name is not valid: only letters, digits and !#$%%&'*+-.^_`|~ "
                          "may be in it, at most 200 of them");
    }
    for (size_t i = 0; i < header->value_len; i++) {
        unsigned char c = (unsigned char)header->value[i];
        if (c == '\r' || c == '\n') {
            return ah_err_set(err, -EINVAL, "header '%.*s': the value has a line break in it",
                              (int)header->name_len, header->name);
        }
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return ah_err_set(err, -EINVAL,
                              "header '%.*s': the value has a control character in it (0x%02x)",
                              (int)header->name_len, header->name, c);
        }
    }
    if (is_header(header, "Content-Length") || is_header(header, "Transfer-Encoding")) {
        return ah_err_set(err, -EINVAL, "header '%.*s' is set by the client; leave it out",
                          (int)header->name_len, header->name);
    }
    return 0;
}

static int check_url(struct ah_http_request *request, const char *text, struct ah_err *err)
{
    if (text == NULL || *text == '\0') {
        return ah_err_set(err, -EINVAL, "the URL is missing");
    }
    /* With an '@' in it the text may hold a password: it is not shown. */
    bool may_show = strchr(text, '@') == NULL;
    CURLUcode rc = curl_url_set(request->url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
    if (rc == CURLUE_OUT_OF_MEMORY) {
        return ah_err_set(err, -ENOMEM, "out of memory for a URL");
    }
    if (rc == CURLUE_OK) {
        char *scheme = NULL;
        rc = curl_url_get(request->url, CURLUPART_SCHEME, &scheme, 0);
        bool is_http = rc == CURLUE_OK &&
                       (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0);
        curl_free(scheme);
        if (is_http) {
            return 0;
        }
    }
    return ah_err_set(err, -EINVAL,
                      "not a URL that can be asked: %.100s%s; expected http://... or https://...",
                      may_show ? text : "(not shown)", strlen(text) > 100 && may_show ? "..." : "");
}

/* ---- headers ---- */

static int append(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL) {
        return -ENOMEM;
    }
    *list = longer;
    return 0;
}

static int append_header(struct ah_http_request *request, const struct ah_http_header *header)
{
    const char *value = header->value;
    size_t len = header->value_len;
    while (len > 0 && isblank((unsigned char)*value)) {
        value++;
        len--;
    }
    while (len > 0 && isblank((unsigned char)value[len - 1])) {
        len--;
    }
    struct ah_buf line;
    ah_buf_init(&line, 0);
    int rc = ah_buf_add(&line, header->name, header->name_len);
    if (rc == 0) {
        /* libcurl takes "Name:" for "do not send it", and "Name;" for an empty value. */
        rc = ah_buf_add_str(&line, len > 0 ? ": " : ";");
    }
    if (rc == 0) {
        rc = ah_buf_add(&line, value, len);
    }
    if (rc == 0) {
        rc = append(&request->headers, line.data);
    }
    ah_buf_clear(&line);
    return rc;
}

static int apply_headers(struct ah_http_request *request, const struct ah_http_options *options,
                         struct ah_err *err)
{
    bool has_type = false;
    int rc = 0;
    for (size_t i = 0; i < options->header_count && rc == 0; i++) {
        const struct ah_http_header *header = &options->headers[i];
        rc = check_header(header, err);
        if (rc < 0) {
            return rc;
        }
        has_type = has_type || is_header(header, "Content-Type");
        rc = append_header(request, header);
    }
    if (rc == 0) {
        rc = append(&request->headers, "Expect:");
    }
    if (rc == 0 && !has_type) {
        rc = append(&request->headers, "Content-Type:"); /* not libcurl's guess for a POST */
    }
    if (rc < 0) {
        return ah_err_set(err, rc, "out of memory for the headers of a request");
    }
    return 0;
}

void ah_http_options_drop_secrets(struct ah_http_request *request)
{
    static const char *const harmless[] = {
        "Accept:", "Accept-Language:", "Content-Type:", "Expect:", "Range:", "User-Agent:", NULL};
    for (struct curl_slist **link = &request->headers; *link != NULL;) {
        struct curl_slist *item = *link;
        bool keep = false;
        for (size_t i = 0; harmless[i] != NULL; i++) {
            keep = keep || strncasecmp(item->data, harmless[i], strlen(harmless[i])) == 0;
        }
        if (keep) {
            link = &item->next;
        } else {
            *link = item->next;
            item->next = NULL;
            curl_slist_free_all(item);
        }
    }
    curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->headers);
}

/* ---- method and body ---- */

void ah_http_options_make_get(struct ah_http_request *request)
{
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, NULL);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)-1);
    curl_easy_setopt(request->easy, CURLOPT_CUSTOMREQUEST, NULL);
    curl_easy_setopt(request->easy, CURLOPT_HTTPGET, 1L);
    free(request->body);
    request->body = NULL;
    request->is_get = true;
}

static char *copy_body(const struct ah_http_options *options, size_t *ret_len)
{
    const struct ah_http_part whole = {options->body, options->body_len};
    const struct ah_http_part *parts = options->parts;
    size_t count = parts != NULL ? options->part_count : 0;
    if (options->body != NULL) {
        parts = &whole;
        count = 1;
    }
    for (size_t i = 0; i < count; i++) {
        *ret_len += parts[i].len;
    }
    char *body = malloc(*ret_len + 1);
    size_t at = 0;
    for (size_t i = 0; body != NULL && i < count; i++) {
        if (parts[i].len > 0) {
            memcpy(body + at, parts[i].bytes, parts[i].len);
        }
        at += parts[i].len;
    }
    return body;
}

static int apply_method(struct ah_http_request *request, const struct ah_http_options *options,
                        struct ah_err *err)
{
    bool has_body = options->body != NULL || options->parts != NULL;
    const char *method = options->method;
    if (method == NULL) {
        method = has_body ? "POST" : "GET";
    }
    if (!is_token(method, strlen(method)) || strlen(method) > 32 ||
        strcasecmp(method, "CONNECT") == 0) {
        return ah_err_set(err, -EINVAL, "not a method: expected GET, POST, PUT, DELETE or another");
    }
    request->is_get = strcmp(method, "GET") == 0 && !has_body;
    request->is_head = strcmp(method, "HEAD") == 0;
    if (request->is_head && has_body) {
        return ah_err_set(err, -EINVAL, "a HEAD request cannot have a body");
    }
    if (request->is_head) {
        curl_easy_setopt(request->easy, CURLOPT_NOBODY, 1L);
        return 0;
    }
    bool sends_length = has_body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
                        strcmp(method, "PATCH") == 0;
    if (sends_length) {
        size_t len = 0;
        request->body = copy_body(options, &len);
        if (request->body == NULL) {
            return ah_err_set(err, -ENOMEM, "out of memory for a request of %zu bytes", len);
        }
        curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, request->body);
        curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    }
    if (!request->is_get && curl_easy_setopt(request->easy, CURLOPT_CUSTOMREQUEST, method) != 0) {
        return ah_err_set(err, -ENOMEM, "out of memory for a request");
    }
    return 0;
}

/* ---- all of it ---- */

int ah_http_options_url(struct ah_http_request *request)
{
    char *host = NULL;
    char *port = NULL;
    char *url = NULL;
    CURLU *shown = NULL;
    int rc = -ENOMEM;

    if (curl_url_get(request->url, CURLUPART_URL, &url, 0) != CURLUE_OK ||
        curl_easy_setopt(request->easy, CURLOPT_URL, url) != CURLE_OK ||
        ah_http_env_proxy(request) < 0 ||
        curl_url_get(request->url, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        goto out;
    }
    curl_url_get(request->url, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT);
    snprintf(request->where, sizeof request->where, "%.120s%s%s", host, port != NULL ? ":" : "",
             port != NULL ? port : "");

    curl_free(url);
    url = NULL;
    shown = curl_url_dup(request->url);
    if (shown == NULL || curl_url_set(shown, CURLUPART_USER, NULL, 0) != CURLUE_OK ||
        curl_url_set(shown, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK ||
        curl_url_get(shown, CURLUPART_URL, &url, 0) != CURLUE_OK) {
        goto out;
    }
    curl_free(request->effective_url);
    request->effective_url = url;
    url = NULL;
    rc = 0;

out:
    curl_free(host);
    curl_free(port);
    curl_free(url);
    curl_url_cleanup(shown);
    return rc;
}

static long milliseconds(double seconds)
{
    return seconds >= INT_MAX / 1000 ? (long)INT_MAX : (long)(seconds * 1000) + 1;
}

/* What every request has. Options that an older libcurl does not know are tried and left. */
static void apply_fixed(struct ah_http_request *request)
{
    CURL *easy = request->easy;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_detail);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "agenthost/" AH_VERSION);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L); /* see ah_http_request_follow */
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 15L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Do not wait for a thread that looks up a name when the request is cancelled. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
}

int ah_http_options_apply(struct ah_http_request *request, const struct ah_http_options *options,
                          struct ah_err *err)
{
    int rc = check_url(request, options->url, err);
    if (rc == 0) {
        rc = apply_headers(request, options, err);
    }
    if (rc == 0) {
        rc = apply_method(request, options, err);
    }
    if (rc < 0) {
        return rc;
    }
    apply_fixed(request);
    /* libcurl needs to know it too: it shares the time out among the addresses of a host. */
    curl_easy_setopt(request->easy, CURLOPT_CONNECTTIMEOUT_MS,
                     milliseconds(options->connect_timeout));
    if (ah_http_options_url(request) < 0 || ah_http_env_ca(request, options->ca_file) < 0 ||
        curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->headers) != CURLE_OK) {
        return ah_err_set(err, -ENOMEM, "out of memory for a request");
    }
    request->timeout = options->timeout;
    request->connect_timeout = options->connect_timeout;
    request->stall_timeout = options->stall_timeout;
    request->stall_ns = ah_clock_from_seconds(options->stall_timeout);
    request->max_body = options->max_body;
    request->max_headers = options->max_headers;
    request->keep = options->keep;
    request->redirects = options->redirects;
    if (request->redirects < 0) {
        request->redirects = request->is_get || request->is_head ? 5 : 0;
    }
    request->redirects_left = request->redirects;
    return 0;
}
