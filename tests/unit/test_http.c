/* The HTTP client against a server that does what it likes: plain sockets and canned bytes. */
#include "core/clock.h"
#include "core/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the server: one thread, one connection after the other ---- */

struct server;
typedef void handler(struct server *server, int fd);

struct server {
    int fd;
    int port;
    pthread_t thread;
    handler *handle;
    const char *_Atomic answer; /* for say(); may hold NULs if answer_len is set */
    size_t answer_len;
    int other_port;       /* where redirects lead */
    pthread_mutex_t lock; /* for what is below */
    int connections;
    size_t sent;
    struct ah_buf requests; /* all that came, head and body */
};

/* Reads one request to its end; false at the end of the connection. */
static bool read_request(struct server *server, int fd)
{
    struct ah_buf in;
    char chunk[4096];
    ssize_t got = 0;
    bool whole = false;
    ah_buf_init(&in, 0);
    while (!whole && (got = read(fd, chunk, sizeof chunk)) > 0) {
        ah_buf_add(&in, chunk, (size_t)got);
        const char *end = strstr(ah_buf_str(&in), "\r\n\r\n");
        if (end != NULL) {
            const char *length = strcasestr(in.data, "\r\ncontent-length: ");
            size_t body = length != NULL && length < end ? strtoul(length + 18, NULL, 10) : 0;
            whole = in.len >= (size_t)(end + 4 - in.data) + body;
        }
    }
    pthread_mutex_lock(&server->lock);
    ah_buf_add(&server->requests, in.data, in.len);
    pthread_mutex_unlock(&server->lock);
    ah_buf_clear(&in);
    return whole;
}

static bool say_bytes(struct server *server, int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = send(fd, bytes, len, MSG_NOSIGNAL);
        if (done <= 0) {
            return false;
        }
        bytes += done;
        len -= (size_t)done;
        pthread_mutex_lock(&server->lock);
        server->sent += (size_t)done;
        pthread_mutex_unlock(&server->lock);
    }
    return true;
}

static bool say(struct server *server, int fd, const char *text)
{
    return say_bytes(server, fd, text, strlen(text));
}

/* Until the client goes away. */
static void idle(int fd)
{
    char sink[4096];
    while (read(fd, sink, sizeof sink) > 0) {
    }
}

static void *serve(void *arg)
{
    struct server *server = arg;
    int fd;
    while ((fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        pthread_mutex_lock(&server->lock);
        server->connections++;
        pthread_mutex_unlock(&server->lock);
        server->handle(server, fd);
        close(fd);
    }
    return NULL;
}

static void server_listen(struct server *server, int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->fd >= 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->fd, backlog), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
}

static void server_start(struct server *server, handler *handle, const char *answer)
{
    *server = (struct server){.handle = handle, .answer = answer};
    ah_buf_init(&server->requests, 0);
    pthread_mutex_init(&server->lock, NULL);
    server_listen(server, 16);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

/* The client has to be gone: the server waits for it to hang up. */
static void server_stop(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
    ah_buf_clear(&server->requests);
    pthread_mutex_destroy(&server->lock);
}

static bool was_sent(struct server *server, const char *text)
{
    pthread_mutex_lock(&server->lock);
    bool was = strstr(ah_buf_str(&server->requests), text) != NULL;
    pthread_mutex_unlock(&server->lock);
    return was;
}

static bool was_sent_last(struct server *server, const char *bytes, size_t len)
{
    pthread_mutex_lock(&server->lock);
    const struct ah_buf *all = &server->requests;
    bool was = all->len >= len && memcmp(all->data + all->len - len, bytes, len) == 0;
    pthread_mutex_unlock(&server->lock);
    return was;
}

static size_t sent_so_far(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    size_t sent = server->sent;
    pthread_mutex_unlock(&server->lock);
    return sent;
}

/* ---- what servers do ---- */

static void answer_all(struct server *server, int fd)
{
    while (read_request(server, fd)) {
        if (!say_bytes(server, fd, server->answer,
                       server->answer_len != 0 ? server->answer_len : strlen(server->answer))) {
            break;
        }
    }
}

static void answer_and_close(struct server *server, int fd)
{
    if (read_request(server, fd)) {
        say(server, fd, server->answer);
    }
}

static void answer_and_stall(struct server *server, int fd)
{
    answer_and_close(server, fd);
    idle(fd);
}

static void answer_and_reset(struct server *server, int fd)
{
    struct linger linger = {.l_onoff = 1};
    answer_and_close(server, fd);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static void answer_in_single_bytes(struct server *server, int fd)
{
    read_request(server, fd);
    for (const char *c = server->answer; *c != '\0'; c++) {
        if (!say_bytes(server, fd, c, 1)) {
            return;
        }
        usleep(200);
    }
}

/* One byte of the body each 50 ms, 20 of them. */
static void answer_slowly(struct server *server, int fd)
{
    read_request(server, fd);
    say(server, fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        usleep(50000);
        if (!say(server, fd, "x")) {
            return;
        }
    }
}

static void answer_for_ever(struct server *server, int fd)
{
    read_request(server, fd);
    if (*server->answer != 'H') {
        say(server, fd, "HTTP/1.1 200 OK\r\n");
    }
    while (say(server, fd, server->answer)) {
    }
}

#define BIG ((size_t)64 * 1024 * 1024) /* much more than the kernel takes for both ends */

static void answer_big(struct server *server, int fd)
{
    char head[80];
    char chunk[1000];
    read_request(server, fd);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", BIG);
    say(server, fd, head);
    for (size_t at = 0; at < BIG;) {
        size_t some = BIG - at < sizeof chunk ? BIG - at : sizeof chunk;
        for (size_t i = 0; i < some; i++) {
            chunk[i] = (char)((at + i) % 251);
        }
        if (!say_bytes(server, fd, chunk, some)) {
            return;
        }
        at += some;
    }
    idle(fd);
}

#define SLOW_BODY ((size_t)8 * 1024 * 1024)

/* Takes a second for six of the eight MB, evenly, and no time for the rest: the kernel may have
 * more than that. Whoever is late does not pause. */
static void read_slowly(struct server *server, int fd)
{
    static char chunk[65536];
    size_t got = 0; /* the head is on top: the answer comes just before the end */
    int small = 65536;
    int64_t begin = ah_clock_now();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    while (got < SLOW_BODY) {
        size_t left = SLOW_BODY - got;
        ssize_t some = read(fd, chunk, left < sizeof chunk ? left : sizeof chunk);
        if (some <= 0) {
            return;
        }
        got += (size_t)some;
        double due = (double)got / (double)(SLOW_BODY / 4 * 3);
        while (due < 1 && ah_clock_now() < begin + ah_clock_from_seconds(due)) {
            usleep(1000);
        }
    }
    say(server, fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/* /start leads to the other server, /loop to itself, /here to /end. */
static void redirect(struct server *server, int fd)
{
    while (true) {
        char head[300];
        pthread_mutex_lock(&server->lock);
        server->requests.len = 0;
        pthread_mutex_unlock(&server->lock);
        if (!read_request(server, fd)) {
            return;
        }
        int status = was_sent(server, "/303") ? 303 : was_sent(server, "/307") ? 307 : 302;
        const char *location = "/end";
        char other[64];
        snprintf(other, sizeof other, "http://127.0.0.1:%d/end", server->other_port);
        if (was_sent(server, " /end")) {
            say(server, fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend");
            continue;
        }
        location = was_sent(server, "/start")  ? other
                   : was_sent(server, "/loop") ? "/loop"
                   : was_sent(server, "/ftp")  ? "ftp://127.0.0.1/"
                   : was_sent(server, "/file") ? "file:///etc/passwd"
                                               : "/end";
        snprintf(head, sizeof head,
                 "HTTP/1.1 %d X\r\nLocation: %s\r\nContent-Length: 4\r\n\r\nmove", status,
                 location);
        say(server, fd, head);
    }
}

/* ---- the client ---- */

struct fixture {
    struct ah_http *http;
    struct ah_http_request *request;
    struct ah_http_options options;
    char url[200];
    struct ah_buf body;
    struct server *servers[4];
};

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof fixture);
    ah_http_options_init(&fixture.options);
    ah_buf_init(&fixture.body, 0);
    *state = &fixture;
    return ah_http_new(&fixture.http, NULL);
}

static struct server *serve_with(struct fixture *f, handler *handle, const char *answer)
{
    size_t i = 0;
    while (f->servers[i] != NULL) {
        i++;
    }
    assert_true(i < sizeof f->servers / sizeof *f->servers);
    f->servers[i] = calloc(1, sizeof **f->servers);
    assert_non_null(f->servers[i]);
    server_start(f->servers[i], handle, answer);
    return f->servers[i];
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ah_http_request_free(f->request);
    f->request = NULL;
    ah_http_free(f->http);
    f->http = NULL;
    ah_buf_clear(&f->body);
    for (size_t i = 0; i < sizeof f->servers / sizeof *f->servers && f->servers[i] != NULL; i++) {
        server_stop(f->servers[i]);
        free(f->servers[i]);
        f->servers[i] = NULL;
    }
    return 0;
}

static const char *url_of(struct fixture *f, const struct server *server, const char *path)
{
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d%s", server->port, path);
    return f->url;
}

static void start(struct fixture *f, const struct server *server, const char *path)
{
    struct ah_err err = {0};
    f->options.url = url_of(f, server, path);
    ah_http_request_free(f->request);
    f->request = NULL;
    if (ah_http_start(f->http, 7, &f->options, &f->request, &err) != 0) {
        fail_msg("start: %s", err.msg);
    }
}

/* Waits until the state is at least `wanted`; a failure is always the end. */
static enum ah_http_state wait_for(struct fixture *f, enum ah_http_state wanted)
{
    int64_t deadline = ah_clock_now() + ah_clock_from_seconds(20);
    enum ah_http_state now;
    while ((now = ah_http_request_state(f->request)) < wanted) {
        uint64_t id;
        assert_true(ah_clock_now() < deadline);
        assert_int_equal(ah_http_wait(f->http, NULL, 0, 20), 0); /* connected is no news */
        ah_http_take_ready(f->http, &id, 1);
    }
    return now;
}

/* What has little time is tried a few times: the machine may stand still for longer than that. */
#define TRIES 5

/* To the end, with the body in f->body. */
static enum ah_http_state finish(struct fixture *f)
{
    ah_http_request_want(f->request, SIZE_MAX);
    enum ah_http_state end = wait_for(f, AH_HTTP_DONE);
    ah_http_request_take(f->request, &f->body);
    return end;
}

static bool failed_with(struct fixture *f, const char *code)
{
    const char *got = ah_http_request_error(f->request, NULL);
    return got != NULL && strcmp(got, code) == 0;
}

static void assert_has_failed(struct fixture *f, const char *code, const char *part)
{
    const char *message = NULL;
    assert_int_equal(ah_http_request_state(f->request), AH_HTTP_FAILED);
    const char *got = ah_http_request_error(f->request, &message);
    if (strcmp(got, code) != 0 || strstr(message, part) == NULL) {
        fail_msg("got %s: %s", got, message);
    }
    assert_null(strchr(message, '\n'));
}

static void assert_failed(struct fixture *f, const char *code, const char *part)
{
    finish(f);
    assert_has_failed(f, code, part);
}

static const char *header(struct fixture *f, const char *wanted)
{
    size_t cursor = 0;
    const char *name;
    const char *value;
    while (ah_http_request_header(f->request, &cursor, &name, &value)) {
        if (strcmp(name, wanted) == 0) {
            return value;
        }
    }
    return NULL;
}

#define HEADER(n, v)                                                                 \
    {                                                                                \
        .name = n, .name_len = sizeof(n) - 1, .value = v, .value_len = sizeof(v) - 1 \
    }

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

/* ---- tests: what works ---- */

static void plain_get(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    uint64_t ids[4];
    server = serve_with(f, answer_all,
                        "HTTP/1.1 404 Nope\r\nContent-Length: 5\r\nX-Two:  a \r\nx-two: b\r\n"
                        "X-Fold: one\r\n two\r\nX-Empty:\r\n\r\nhello");
    start(f, server, "/a?b=c");
    assert_int_equal(ah_http_request_status(f->request), 0);
    assert_int_equal(ah_http_request_state(f->request), AH_HTTP_CONNECTING);
    ah_http_request_want(f->request, SIZE_MAX);
    while (ah_http_request_state(f->request) < AH_HTTP_DONE) {
        assert_int_equal(ah_http_wait(f->http, NULL, 0, 10000), 0);
    }
    assert_int_equal(ah_http_take_ready(f->http, ids, 4), 1);
    assert_int_equal(ids[0], 7);
    assert_int_equal(ah_http_take_ready(f->http, ids, 4), 0);
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_int_equal(ah_http_request_status(f->request), 404);
    assert_int_equal(ah_http_request_version(f->request), 11);
    assert_string_equal(ah_buf_str(&f->body), "hello");
    assert_int_equal(ah_http_request_total(f->request), 5);
    assert_string_equal(ah_http_request_url(f->request), f->url);
    assert_string_equal(header(f, "x-two"), "a");
    assert_string_equal(header(f, "x-fold"), "one two");
    assert_string_equal(header(f, "x-empty"), "");
    assert_null(header(f, "X-Two"));
    assert_null(ah_http_request_error(f->request, NULL));
    assert_true(ah_http_request_timings(f->request).total > 0);
    assert_true(was_sent(server, "GET /a?b=c HTTP/1.1\r\n"));
    assert_true(was_sent(server, "Accept-Encoding: "));
    assert_true(was_sent(server, "User-Agent: agenthost/"));
    assert_false(was_sent(server, "Content-Length"));
}

static void post_with_headers(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    struct ah_http_header headers[] = {HEADER("X-Key", " secret \t"), HEADER("X-None", ""),
                                       HEADER("Accept", "text/event-stream")};
    server = serve_with(f, answer_all, HELLO);
    f->options.body = "a\0b";
    f->options.body_len = 3;
    f->options.headers = headers;
    f->options.header_count = 3;
    start(f, server, "/");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_true(was_sent(server, "POST / HTTP/1.1\r\n"));
    assert_true(was_sent(server, "\r\nX-Key: secret\r\n"));
    assert_true(was_sent(server, "\r\nX-None:\r\n"));
    assert_true(was_sent(server, "\r\nAccept: text/event-stream\r\n"));
    assert_true(was_sent(server, "\r\nContent-Length: 3\r\n"));
    assert_false(was_sent(server, "Content-Type"));
    assert_false(was_sent(server, "Expect"));
    assert_true(was_sent_last(server, "a\0b", 3));
}

static void other_methods(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_all, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    f->options.method = "DELETE";
    start(f, server, "/");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_true(was_sent(server, "DELETE / HTTP/1.1\r\n"));
    f->options.method = "PUT"; /* without a body: the length has to be said */
    start(f, server, "/");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_true(was_sent(server, "PUT / HTTP/1.1\r\n"));
    assert_true(was_sent(server, "\r\nContent-Length: 0\r\n"));
    f->options.method = "HEAD";
    server->answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    start(f, server, "/");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_true(was_sent(server, "HEAD / HTTP/1.1\r\n"));
    assert_int_equal(f->body.len, 0);
    assert_int_equal(server->connections, 1);
}

static void pieces_interim_answers_and_trailers(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_in_single_bytes,
                        "HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Real: 1\r\n\r\n"
                        "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n");
    start(f, server, "/");
    assert_true(wait_for(f, AH_HTTP_HEADERS) <= AH_HTTP_BODY);
    assert_int_equal(ah_http_request_status(f->request), 200);
    assert_null(header(f, "x-early"));
    assert_string_equal(header(f, "x-real"), "1");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_string_equal(ah_buf_str(&f->body), "abcdefg");
    assert_null(header(f, "x-trailer"));
}

static void compressed(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 25\r\n\r\n"
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05"
        "\x00\x00\x00";
    server = serve_with(f, answer_all, answer);
    server->answer_len = sizeof answer - 1;
    start(f, server, "/");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_string_equal(ah_buf_str(&f->body), "hello");
}

/* "hello" as brotli and zstd, where libcurl has them. */
static void compressed_in_other_ways(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int feature;
        const char *name;
        const char *bytes;
        size_t len;
    } ways[] = {
        {CURL_VERSION_BROTLI, "br", "\x0b\x02\x80hello\x03", 9},
        {CURL_VERSION_ZSTD, "zstd", "\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello", 14},
    };
    struct server *server = serve_with(f, answer_all, NULL);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char answer[200];
        if ((curl_version_info(CURLVERSION_NOW)->features & ways[i].feature) == 0) {
            print_message("this libcurl has no %s\n", ways[i].name);
            continue;
        }
        int head =
            snprintf(answer, sizeof answer,
                     "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
                     ways[i].name, ways[i].len);
        memcpy(answer + head, ways[i].bytes, ways[i].len);
        server->answer = answer;
        server->answer_len = (size_t)head + ways[i].len;
        start(f, server, "/");
        assert_int_equal(finish(f), AH_HTTP_DONE);
        assert_string_equal(ah_buf_str(&f->body), "hello");
        assert_true(was_sent(server, ways[i].name)); /* in Accept-Encoding */
    }
}

static void connection_is_used_again(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_all, HELLO);
    for (int i = 0; i < 5; i++) {
        start(f, server, "/");
        assert_int_equal(finish(f), AH_HTTP_DONE);
    }
    assert_int_equal(server->connections, 1);
}

/* A server that had closed a kept connection costs a new one, not an error. */
static void closed_connection_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_and_close, HELLO);
    for (int i = 0; i < 3; i++) {
        f->options.body = "x";
        f->options.body_len = 1;
        start(f, server, "/");
        assert_int_equal(finish(f), AH_HTTP_DONE);
    }
    assert_int_equal(server->connections, 3);
}

/* ---- tests: flow ---- */

/* False when the machine stood still while the server had little time. */
static bool read_after_a_pause(struct fixture *f, struct server *server)
{
    size_t at = 0;
    size_t sent = sent_so_far(server);
    start(f, server, "/");
    int64_t full = AH_CLOCK_NEVER; /* then go on for longer than the stall timeout */
    while (full == AH_CLOCK_NEVER || ah_clock_now() < full + ah_clock_from_seconds(0.5)) {
        assert_int_equal(ah_http_wait(f->http, NULL, 0, 30), 0);
        ah_http_take_ready(f->http, (uint64_t[4]){0}, 4);
        if (full == AH_CLOCK_NEVER && ah_http_request_total(f->request) >= 256 * 1024) {
            full = ah_clock_now();
        }
        if (failed_with(f, "TIMEOUT_STALL")) {
            return false;
        }
    }
    assert_int_equal(ah_http_request_state(f->request), AH_HTTP_BODY);
    assert_in_range(ah_http_request_total(f->request), 256 * 1024, 256 * 1024 + 64 * 1024);
    assert_true(sent_so_far(server) - sent < BIG); /* the kernel's buffers are full too */

    while (ah_http_request_take(f->request, &f->body) > 0 ||
           ah_http_request_state(f->request) < AH_HTTP_DONE) {
        assert_true(f->body.len <= 256 * 1024 + 64 * 1024);
        for (size_t i = 0; i < f->body.len; i++, at++) {
            if ((unsigned char)f->body.data[i] != at % 251) {
                fail_msg("byte %zu is wrong", at);
            }
        }
        f->body.len = 0;
        assert_int_equal(ah_http_wait(f->http, NULL, 0, 1000), 0);
        ah_http_take_ready(f->http, (uint64_t[4]){0}, 4);
    }
    if (failed_with(f, "TIMEOUT_STALL")) {
        return false;
    }
    assert_null(ah_http_request_error(f->request, NULL));
    assert_int_equal(at, BIG);
    return true;
}

static void unread_bytes_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct server *server = serve_with(f, answer_big, NULL);
    bool done = false;
    f->options.stall_timeout = 0.2; /* does not count while it is us who do not read */
    for (int i = 0; i < TRIES && !done; i++) {
        done = read_after_a_pause(f, server);
    }
    assert_true(done);
}

static void want_decides_what_is_news(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    uint64_t id;
    int news = 0;
    server = serve_with(f, answer_big, NULL);
    start(f, server, "/");
    ah_http_request_want(f->request, SIZE_MAX);
    while (ah_http_request_state(f->request) < AH_HTTP_DONE) {
        assert_int_equal(ah_http_wait(f->http, NULL, 0, 10000), 0);
        news += (int)ah_http_take_ready(f->http, &id, 1);
    }
    assert_in_range(news, 1, 2); /* headers and end, maybe at once */
    assert_int_equal(ah_http_request_take(f->request, &f->body), BIG);
}

static void other_descriptors_end_the_wait(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    int ends[2];
    server = serve_with(f, answer_and_stall, "");
    start(f, server, "/");
    wait_for(f, AH_HTTP_WAITING);
    assert_int_equal(pipe(ends), 0);
    struct curl_waitfd fds[40] = {{.fd = 0}};
    for (size_t i = 0; i < 40; i++) {
        fds[i] = (struct curl_waitfd){.fd = -1, .events = CURL_WAIT_POLLIN};
    }
    fds[39].fd = ends[0];

    int64_t before = ah_clock_now();
    assert_int_equal(ah_http_wait(f->http, fds, 40, 100), 0);
    assert_true(ah_clock_now() - before >= 100 * 1000000);
    assert_int_equal(fds[39].revents, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(ah_http_wait(f->http, fds, 40, -1), 0);
    assert_int_equal(fds[39].revents, CURL_WAIT_POLLIN);
    assert_int_equal(fds[0].revents, 0);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[1]); /* a hang-up without data, which curl_multi_poll does not report */
    assert_int_equal(ah_http_wait(f->http, fds, 40, -1), 0);
    assert_int_equal(fds[39].revents, CURL_WAIT_POLLIN);
    close(ends[0]);
}

/* ---- tests: limits ---- */

static void stall_before_the_answer(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_and_stall, "HTTP/1.1 200 OK\r\nX-Half: 1");
    f->options.stall_timeout = 0.25;
    int64_t before = ah_clock_now();
    start(f, server, "/");
    assert_failed(f, "TIMEOUT_STALL", "for 0.25 s (stall_timeout)");
    double took = (double)(ah_clock_now() - before) / 1e9;
    assert_true(took >= 0.25);
    assert_true(took < 20);
    assert_int_equal(ah_http_request_status(f->request), 0);
}

static void stall_in_the_body(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_and_stall, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    f->options.stall_timeout = 0.2;
    for (int i = 0; i < TRIES && f->body.len == 0; i++) {
        start(f, server, "/");
        finish(f);
    }
    assert_has_failed(f, "TIMEOUT_STALL", "for 0.2 s, after 3 bytes (stall_timeout)");
    assert_int_equal(ah_http_request_status(f->request), 200);
    assert_string_equal(ah_buf_str(&f->body), "abc");
}

static void slow_is_not_stalled(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_slowly, NULL);
    f->options.stall_timeout = 0.6;
    enum ah_http_state end = AH_HTTP_FAILED;
    for (int i = 0; i < TRIES && end != AH_HTTP_DONE; i++) {
        start(f, server, "/");
        end = finish(f);
    }
    assert_int_equal(end, AH_HTTP_DONE);
}

static void total_timeout(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_slowly, NULL);
    f->options.timeout = 0.4;
    for (int i = 0; i < TRIES && (i == 0 || f->body.len % 20 == 0); i++) {
        f->body.len = 0;
        start(f, server, "/");
        finish(f);
    }
    assert_has_failed(f, "TIMEOUT", "within 0.4 s (timeout)");
    assert_in_range(f->body.len, 1, 19);
}

static void sending_is_not_stalled(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, read_slowly, NULL);
    f->options.stall_timeout = 0.7;
    f->options.body_len = SLOW_BODY;
    for (int i = 0; i < TRIES && (i == 0 || failed_with(f, "TIMEOUT_STALL")); i++) {
        char *body = calloc(1, SLOW_BODY);
        f->options.body = body;
        start(f, server, "/");
        free(body); /* it was copied */
        finish(f);
    }
    assert_int_equal(ah_http_request_status(f->request), 200);
}

/* A listener that nobody serves and whose backlog is full does not answer a connection. */
static void connect_timeout(void **state)
{
    struct fixture *f = *state;
    struct server server = {.fd = -1};
    int fillers[3];
    server_listen(&server, 0);
    for (size_t i = 0; i < 3; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                      .sin_port = htons((uint16_t)server.port)};
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    f->options.connect_timeout = 0.2;
    start(f, &server, "/");
    assert_failed(f, "TIMEOUT_CONNECT", "within 0.2 s (connect_timeout)");
    f->options.connect_timeout = 60;
    start(f, &server, "/");
    assert_int_equal(ah_http_wait(f->http, NULL, 0, 50), 0);
    assert_int_equal(ah_http_request_state(f->request), AH_HTTP_CONNECTING); /* freed like this */
    for (size_t i = 0; i < 3; i++) {
        close(fillers[i]);
    }
    close(server.fd);
}

/* The time for TLS counts as connecting, also after a redirect on the same handle. */
static void tls_timeout(void **state)
{
    struct fixture *f = *state;
    struct server *silent;
    struct server *front;
    char answer[100];
    silent = serve_with(f, answer_and_stall, "");
    snprintf(answer, sizeof answer,
             "HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: https://127.0.0.1:%d/\r\n\r\n",
             silent->port);
    front = serve_with(f, answer_all, answer);
    f->options.connect_timeout = 0.2;
    f->options.stall_timeout = 0.1;
    for (int i = 0; i < TRIES && (i == 0 || failed_with(f, "TIMEOUT_STALL")); i++) {
        start(f, front, "/");
        finish(f);
    }
    assert_has_failed(f, "TIMEOUT_CONNECT", "within 0.2 s (connect_timeout)");
}

static void too_large_body(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_and_close,
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
    f->options.max_body = 6;
    start(f, server, "/");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    f->options.max_body = 5;
    start(f, server, "/");
    assert_failed(f, "TOO_LARGE", "larger than 5 bytes (max_body)");
}

static void too_large_headers(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_for_ever, "HTTP/1.1 100 Continue\r\nX-Fill: 0123456789\r\n\r\n");
    start(f, server, "/");
    assert_failed(f, "TOO_LARGE", "larger than 65536 bytes (max_headers)");
    server->answer = "X-Fill: 0123456789\r\n";
    f->options.max_headers = 1000;
    start(f, server, "/");
    assert_failed(f, "TOO_LARGE", "larger than 1000 bytes (max_headers)");
}

/* ---- tests: broken connections ---- */

static void closed_too_early(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_and_close, "");
    start(f, server, "/");
    assert_failed(f, "CLOSED", "without an answer");
    server->answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    start(f, server, "/");
    assert_failed(f, "CLOSED", "in the middle of its answer, after 3 bytes");
    assert_string_equal(ah_buf_str(&f->body), "abc");
    server->answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    start(f, server, "/");
    assert_failed(f, "CLOSED", "after 5 bytes");
    server->answer = "HTTP/1.1 200 OK\r\nX-Half";
    start(f, server, "/");
    assert_int_equal(finish(f), AH_HTTP_FAILED);
}

static void reset_in_the_body(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_and_reset, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    start(f, server, "/");
    assert_failed(f, "CLOSED", "127.0.0.1:");
}

static void not_http(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, answer_and_close, "220 smtp.example.org ESMTP \x1b[2J\r\n");
    start(f, server, "/");
    assert_failed(f, "PROTOCOL", "not proper HTTP");
    server->answer = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd";
    start(f, server, "/");
    assert_failed(f, "PROTOCOL", "not proper HTTP");
}

static void nobody_there(void **state)
{
    struct fixture *f = *state;
    struct server server = {0};
    struct ah_err err;
    const char *message;
    server_listen(&server, 1);
    close(server.fd);
    start(f, &server, "/");
    assert_failed(f, "CONNECT", "Connection refused");
    start(f, &server, "/");
    ah_http_request_free(f->request);
    f->request = NULL;
    snprintf(f->url, sizeof f->url, "http://user:hunter2@127.0.0.1:%d/", server.port);
    f->options.url = f->url;
    assert_int_equal(ah_http_start(f->http, 1, &f->options, &f->request, &err), 0);
    assert_failed(f, "CONNECT", "cannot connect to 127.0.0.1:");
    ah_http_request_error(f->request, &message);
    assert_null(strstr(message, "hunter2"));
    assert_null(strstr(ah_http_request_url(f->request), "hunter2"));
    ah_http_request_free(f->request);
    f->request = NULL;
    f->options.url = "http://no-such-host.invalid/";
    assert_int_equal(ah_http_start(f->http, 1, &f->options, &f->request, &err), 0);
    assert_failed(f, "RESOLVE", "no-such-host.invalid");
}

/* ---- tests: redirects ---- */

static struct ah_http_header secrets[] = {
    HEADER("Authorization", "Bearer hunter2"), HEADER("x-api-key", "hunter2"),
    HEADER("Cookie", "a=hunter2"), HEADER("Accept", "text/plain")};

static void redirect_keeps_keys_at_home(void **state)
{
    struct fixture *f = *state;
    struct server *here;
    struct server *other;
    here = serve_with(f, redirect, NULL);
    other = serve_with(f, redirect, NULL);
    here->other_port = other->port;
    f->options.headers = secrets;
    f->options.header_count = 4;

    start(f, here, "/here");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_int_equal(ah_http_request_status(f->request), 200);
    assert_string_equal(ah_buf_str(&f->body), "end");
    assert_non_null(strstr(ah_http_request_url(f->request), "/end"));
    assert_true(was_sent(here, "GET /end"));
    assert_true(was_sent(here, "Authorization: Bearer hunter2"));
    assert_true(was_sent(here, "x-api-key: hunter2"));

    snprintf(f->url, sizeof f->url, "http://me:hunter2@127.0.0.1:%d/start", here->port);
    ah_http_request_free(f->request);
    f->options.url = f->url;
    assert_int_equal(ah_http_start(f->http, 1, &f->options, &f->request, NULL), 0);
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_true(was_sent(other, "GET /end"));
    assert_true(was_sent(other, "Accept: text/plain"));
    assert_false(was_sent(other, "hunter2"));
    assert_false(was_sent(other, "Authorization"));
}

static void redirect_of_a_post(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, redirect, NULL);
    f->options.body = "payload";
    f->options.body_len = 7;
    start(f, server, "/307");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_int_equal(ah_http_request_status(f->request), 307); /* not followed unless asked */
    assert_string_equal(ah_buf_str(&f->body), "move");
    f->options.redirects = 1;
    start(f, server, "/307");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_int_equal(ah_http_request_status(f->request), 200);
    assert_true(was_sent(server, "POST /end"));
    assert_true(was_sent(server, "payload"));
    start(f, server, "/303");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_true(was_sent(server, "GET /end"));
    assert_false(was_sent(server, "payload"));
    assert_false(was_sent(server, "Content-Length"));
}

static void redirects_that_are_refused(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    server = serve_with(f, redirect, NULL);
    start(f, server, "/loop");
    assert_failed(f, "REDIRECT", "more than 5 redirects");
    start(f, server, "/ftp");
    assert_failed(f, "REDIRECT", "other than http:// or https://");
    start(f, server, "/file");
    assert_failed(f, "REDIRECT", "other than http:// or https://");
    f->options.redirects = 0;
    start(f, server, "/loop");
    assert_int_equal(finish(f), AH_HTTP_DONE);
    assert_int_equal(ah_http_request_status(f->request), 302);
}

/* ---- tests: proxies, which the environment names ---- */

static void use_proxy(const char *name, const struct server *proxy)
{
    char url[80];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", proxy->port);
    setenv(name, url, 1);
    unsetenv("no_proxy");
}

static void use_no_proxy(void)
{
    unsetenv("http_proxy");
    unsetenv("https_proxy");
    setenv("no_proxy", "*", 1);
}

static void start_url(struct fixture *f, const char *url)
{
    f->options.url = url;
    ah_http_request_free(f->request);
    f->request = NULL;
    assert_int_equal(ah_http_start(f->http, 7, &f->options, &f->request, NULL), 0);
}

static void proxy_is_used(void **state)
{
    struct fixture *f = *state;
    struct server *proxy = serve_with(f, answer_all, HELLO);
    use_proxy("http_proxy", proxy);
    start_url(f, "http://model.invalid:81/v1");
    enum ah_http_state end = finish(f);
    setenv("no_proxy", "127.0.0.1", 1); /* what is named there is asked directly */
    struct server *direct = serve_with(f, answer_all, HELLO);
    start(f, direct, "/direct");
    enum ah_http_state direct_end = finish(f);
    use_no_proxy();
    assert_int_equal(end, AH_HTTP_DONE);
    assert_string_equal(ah_buf_str(&f->body), "hello");
    assert_true(was_sent(proxy, "GET http://model.invalid:81/v1 HTTP/1.1\r\n"));
    assert_int_equal(direct_end, AH_HTTP_DONE);
    assert_true(was_sent(direct, "GET /direct HTTP/1.1\r\n"));
}

/* libcurl reads http_proxy in lower case only, and most environments have it in upper case. */
static void upper_case_proxy_is_used(void **state)
{
    struct fixture *f = *state;
    struct server *proxy = serve_with(f, answer_all, HELLO);
    use_proxy("HTTP_PROXY", proxy);
    start_url(f, "http://model.invalid:81/v1");
    enum ah_http_state end = finish(f);
    struct server *direct = serve_with(f, answer_all, HELLO);
    start(f, direct, "/direct"); /* on this machine */
    enum ah_http_state direct_end = finish(f);
    setenv("no_proxy", "model.invalid", 1);
    start_url(f, "http://model.invalid:81/v2");
    wait_for(f, AH_HTTP_DONE);
    unsetenv("HTTP_PROXY");
    use_no_proxy();
    assert_failed(f, "RESOLVE", "cannot find the address of model.invalid");
    assert_int_equal(end, AH_HTTP_DONE);
    assert_true(was_sent(proxy, "GET http://model.invalid:81/v1 HTTP/1.1\r\n"));
    assert_int_equal(direct_end, AH_HTTP_DONE);
    assert_true(was_sent(direct, "GET /direct HTTP/1.1\r\n"));
}

/* A CGI program has its caller's "Proxy:" header as HTTP_PROXY. */
static void upper_case_proxy_of_a_cgi_program(void **state)
{
    struct fixture *f = *state;
    struct server *proxy = serve_with(f, answer_all, HELLO);
    use_proxy("HTTP_PROXY", proxy);
    setenv("REQUEST_METHOD", "GET", 1);
    start_url(f, "http://model.invalid:81/v1");
    wait_for(f, AH_HTTP_DONE);
    unsetenv("REQUEST_METHOD");
    unsetenv("HTTP_PROXY");
    use_no_proxy();
    assert_failed(f, "RESOLVE", "cannot find the address of model.invalid");
}

/* A request over TLS goes through a tunnel; nothing of it is told to the proxy. */
static void proxy_refuses_a_tunnel(void **state)
{
    struct fixture *f = *state;
    struct server *proxy =
        serve_with(f, answer_all, "HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n");
    f->options.headers = (struct ah_http_header[1]){HEADER("x-api-key", "hunter2")};
    f->options.header_count = 1;
    use_proxy("https_proxy", proxy);
    start_url(f, "https://model.invalid/v1");
    wait_for(f, AH_HTTP_DONE);
    use_no_proxy();
    assert_failed(f, "PROXY", "the proxy refused to connect to model.invalid: status 407");
    assert_true(was_sent(proxy, "CONNECT model.invalid:443 HTTP/1.1\r\n"));
    assert_false(was_sent(proxy, "hunter2"));
}

static void proxy_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct server proxy = {0};
    server_listen(&proxy, 1);
    close(proxy.fd);
    use_proxy("http_proxy", &proxy);
    start_url(f, "http://model.invalid/v1");
    wait_for(f, AH_HTTP_DONE);
    use_no_proxy();
    assert_failed(f, "PROXY", "check http_proxy, https_proxy and no_proxy");
}

/* ---- tests: cancelling, wrong use ---- */

static size_t open_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* However far a request is, it is ended at once and its connection closed. Each is tried a few
 * times and the quickest counts: the machine may stand still for longer than it takes. */
static void cancelling_is_quick_and_leaks_nothing(void **state)
{
    struct fixture *f = *state;
    static const enum ah_http_state phases[] = {AH_HTTP_CONNECTING, AH_HTTP_WAITING,
                                                AH_HTTP_HEADERS, AH_HTTP_BODY};
    static const char *const answers[] = {"", "", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"};
    struct server *server = serve_with(f, answer_and_stall, "");
    size_t before = 0;
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
            int64_t least = AH_CLOCK_NEVER;
            for (int again = 0; again < 3; again++) {
                server->answer = answers[i];
                start(f, server, "/");
                assert_int_equal(wait_for(f, phases[i]), phases[i]);
                int64_t begin = ah_clock_now();
                ah_http_request_free(f->request);
                f->request = NULL;
                int64_t took = ah_clock_now() - begin;
                least = took < least ? took : least;
            }
            assert_true(least < ah_clock_from_seconds(0.05));
        }
        /* The server closes its end when it sees ours closed. */
        int64_t deadline = ah_clock_now() + ah_clock_from_seconds(20);
        size_t now = open_descriptors();
        before = round == 0 ? now : before;
        while (now > before && ah_clock_now() < deadline) {
            usleep(1000);
            now = open_descriptors();
        }
        assert_true(now <= before);
    }
    /* While the name is looked up: in a thread of libcurl's, for which nobody waits. */
    f->options.url = "http://no-such-host.invalid/";
    assert_int_equal(ah_http_start(f->http, 7, &f->options, &f->request, NULL), 0);
    assert_int_equal(ah_http_wait(f->http, NULL, 0, 0), 0);
    ah_http_request_free(f->request);
    f->request = NULL;
}

static void cancel_in_each_phase(void **state)
{
    struct fixture *f = *state;
    struct server *server;
    static const enum ah_http_state phases[] = {AH_HTTP_CONNECTING, AH_HTTP_WAITING,
                                                AH_HTTP_HEADERS, AH_HTTP_BODY};
    static const char *const answers[] = {"", "", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"};
    server = serve_with(f, answer_and_stall, "");
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        server->answer = answers[i];
        start(f, server, "/");
        assert_int_equal(wait_for(f, phases[i]), phases[i]);
        ah_http_request_free(f->request);
        f->request = NULL;
        assert_int_equal(ah_http_wait(f->http, NULL, 0, 0), 0);
        assert_int_equal(ah_http_take_ready(f->http, (uint64_t[1]){0}, 1), 0);
    }

    tear_down(state);
    set_up(state); /* while it is paused, and after the client is gone */
    server = serve_with(f, answer_big, NULL);
    start(f, server, "/");
    while (ah_http_request_total(f->request) < 256 * 1024) {
        assert_int_equal(ah_http_wait(f->http, NULL, 0, 100), 0);
        ah_http_take_ready(f->http, (uint64_t[1]){0}, 1);
    }
    ah_http_free(f->http);
    f->http = NULL;
    assert_string_equal(ah_http_request_error(f->request, NULL), "CLOSED");
    assert_true(ah_http_request_take(f->request, &f->body) >= 256 * 1024);
}

static void expect_refusal(struct fixture *f, const char *part)
{
    struct ah_err err = {0};
    struct ah_http_request *request = NULL;
    assert_int_equal(ah_http_start(f->http, 1, &f->options, &request, &err), -EINVAL);
    assert_null(request);
    if (strstr(err.msg, part) == NULL || strstr(err.msg, "hunter2") != NULL) {
        fail_msg("got: %s", err.msg);
    }
}

static void injection_is_refused(void **state)
{
    struct fixture *f = *state;
    static struct ah_http_header bad_values[] = {
        HEADER("X-Key", "hunter2\r\nX-Other: 1"), HEADER("X-Key", "hunter2\n"),
        HEADER("X-Key", "\rhunter2"), HEADER("X-Key", "hunter2\0"), HEADER("X-Key", "\x7f")};
    static struct ah_http_header bad_names[] = {
        HEADER("", "1"),       HEADER("X Key", "1"), HEADER("X-Key: hunter2", "1"),
        HEADER("X\r\nY", "1"), HEADER("X\0Y", "1"),  HEADER("Sch\xc3\xb6n", "1")};
    f->options.url = "http://127.0.0.1/";
    f->options.header_count = 1;
    for (size_t i = 0; i < sizeof bad_values / sizeof *bad_values; i++) {
        f->options.headers = &bad_values[i];
        expect_refusal(f, "header 'X-Key': the value has a ");
    }
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {
        f->options.headers = &bad_names[i];
        expect_refusal(f, "a header name is not valid");
    }
    f->options.headers = (struct ah_http_header[1]){HEADER("content-length", "3")};
    expect_refusal(f, "set by the client");
    f->options.header_count = 0;
    f->options.method = "GET / HTTP/1.1\r\nX: y";
    expect_refusal(f, "not a method");
    f->options.method = "CONNECT";
    expect_refusal(f, "not a method");
    f->options.method = NULL;
    static const char *const urls[] = {"",
                                       "127.0.0.1",
                                       "ftp://127.0.0.1/",
                                       "file:///etc/passwd",
                                       "http://",
                                       "http://a b/",
                                       "http://127.0.0.1/\r\nX: y",
                                       "http://me:hunter2@127.0.0.1:99999/",
                                       "ftp://me:hunter2@127.0.0.1/"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        f->options.url = urls[i];
        expect_refusal(f, "URL");
    }
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(plain_get),
        test(post_with_headers),
        test(other_methods),
        test(pieces_interim_answers_and_trailers),
        test(compressed),
        test(compressed_in_other_ways),
        test(connection_is_used_again),
        test(closed_connection_is_replaced),
        test(unread_bytes_are_bounded),
        test(want_decides_what_is_news),
        test(other_descriptors_end_the_wait),
        test(stall_before_the_answer),
        test(stall_in_the_body),
        test(slow_is_not_stalled),
        test(total_timeout),
        test(sending_is_not_stalled),
        test(connect_timeout),
        test(tls_timeout),
        test(too_large_body),
        test(too_large_headers),
        test(closed_too_early),
        test(reset_in_the_body),
        test(not_http),
        test(nobody_there),
        test(redirect_keeps_keys_at_home),
        test(redirect_of_a_post),
        test(redirects_that_are_refused),
        test(proxy_is_used),
        test(upper_case_proxy_is_used),
        test(upper_case_proxy_of_a_cgi_program),
        test(proxy_refuses_a_tunnel),
        test(proxy_is_not_there),
        test(cancel_in_each_phase),
        test(cancelling_is_quick_and_leaks_nothing),
        test(injection_is_refused),
    };
    static const char *const proxies[] = {"http_proxy",  "HTTP_PROXY",    "https_proxy",
                                          "HTTPS_PROXY", "all_proxy",     "ALL_PROXY",
                                          "NO_PROXY",    "REQUEST_METHOD"};
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++) {
        unsetenv(proxies[i]); /* of the machine's */
    }
    setenv("no_proxy", "*", 1);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
