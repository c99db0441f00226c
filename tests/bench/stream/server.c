/*
 * What the stream and history benchmarks talk to: a server of Anthropic-style event streams that is
 * much quicker than any reader. It prints its port, then serves until its standard input ends.
 *
 *   POST or GET /<n>...    a reply of n MB of text deltas, one a chunk
 *   POST or GET /sink...   a reply of one short text
 *
 * A header of the answer says how long the text of the deltas is: X-Text: <bytes> <UTF-16 units>.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* Deltas that are written again and again, with the end of a content block behind them: 1.2 MB, a
 * very long text for a model. All content blocks have the index 0. */
#define BLOCK_EVENTS 8192

/* What the deltas hold, as JSON, with the bytes and UTF-16 units of what it decodes to. */
static const struct text {
    const char *json;
    unsigned bytes, units;
} texts[] = {
    {"The quick brown fox jumps ", 26, 26},
    {"over the lazy dog, and so", 25, 25},
    {" on.\\n\\n\\tif (x == \\\"y\\\") {", 22, 22},
    {" r\xc3\xa9sum\xc3\xa9 \xe2\x80\x94 na\xc3\xafve ", 21, 16},
    {"    return value + 1, nil", 25, 25},
    {"for i = 1, 10 do print(i)", 25, 25},
    {" and then it goes on with", 25, 25},
    {"out an end to be seen but", 25, 25},
};

static const char begin_text[] =
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench\","
    "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench\",\"content\":[],\"stop_"
    "reason\":"
    "null,\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n"
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
static const char between[] =
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
static const char end_text[] =
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
    "\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\n"
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

static char *block; /* made before the threads */
static size_t block_len, block_payload, block_bytes, block_units;

static size_t put_chunk(char *out, const char *payload, size_t len)
{
    int head = sprintf(out, "%zx\r\n", len);
    memcpy(out + head, payload, len);
    memcpy(out + head + (int)len, "\r\n", 2);
    return (size_t)head + len + 2;
}

static size_t put_delta(char *out, const struct text *text)
{
    char event[400];
    int len = snprintf(event, sizeof event,
                       "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
                       "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"%s\"}}\n\n",
                       text->json);
    block_payload += (size_t)len;
    block_bytes += text->bytes;
    block_units += text->units;
    return put_chunk(out, event, (size_t)len);
}

static void make_block(void)
{
    block = malloc((size_t)BLOCK_EVENTS * 200 + 1000);
    for (unsigned i = 0; i < BLOCK_EVENTS; i++) {
        block_len += put_delta(block + block_len, &texts[(i * 7 + i / 8) % 8]);
    }
    block_payload += sizeof between - 1;
    block_len += put_chunk(block + block_len, between, sizeof between - 1);
}

static bool say(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = send(fd, bytes, len, MSG_NOSIGNAL);
        if (done <= 0) {
            return false;
        }
        bytes += done;
        len -= (size_t)done;
    }
    return true;
}

/* Reads a request to its end, whose body is thrown away; false at the end of the connection. */
static bool read_request(int fd, char *head, size_t cap)
{
    static _Thread_local char sink[1 << 20];
    size_t have = 0;
    char *end = NULL;
    while (end == NULL) {
        ssize_t got = have < cap - 1 ? read(fd, head + have, cap - 1 - have) : 0;
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
        head[have] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *length = strcasestr(head, "\r\ncontent-length: ");
    size_t left = length != NULL ? strtoul(length + 18, NULL, 10) : 0;
    left -= have - (size_t)(end + 4 - head);
    while (left > 0) {
        ssize_t got = read(fd, sink, left < sizeof sink ? left : sizeof sink);
        if (got <= 0) {
            return false;
        }
        left -= (size_t)got;
    }
    return true;
}

static bool answer(int fd, size_t blocks)
{
    char out[2000];
    size_t texts_bytes = blocks * block_bytes + (blocks == 0 ? texts[0].bytes : 0);
    size_t texts_units = blocks * block_units + (blocks == 0 ? texts[0].units : 0);
    int len = snprintf(out, sizeof out,
                       "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Text: %zu %zu\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n",
                       texts_bytes, texts_units);
    len += (int)put_chunk(out + len, begin_text, sizeof begin_text - 1);
    if (blocks == 0) {
        const char *first = memchr(block, '\n', 100);
        len += (int)put_chunk(out + len, first + 1, strtoul(block, NULL, 16));
    }
    if (!say(fd, out, (size_t)len)) {
        return false;
    }
    for (size_t i = 0; i < blocks; i++) {
        if (!say(fd, block, block_len)) {
            return false;
        }
    }
    len = (int)put_chunk(out, end_text, sizeof end_text - 1);
    len += (int)put_chunk(out + len, "", 0);
    return say(fd, out, (size_t)len);
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char head[16384];
    while (read_request(fd, head, sizeof head)) {
        const char *path = strchr(head, '/');
        size_t megabytes = path != NULL ? strtoul(path + 1, NULL, 10) : 0;
        if (!answer(fd, (megabytes * 1000000 + block_payload - 1) / block_payload)) {
            break;
        }
    }
    close(fd);
    return NULL;
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, len) < 0 || listen(listener, 16) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) < 0) {
        perror("server");
        return 1;
    }
    make_block();
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct pollfd fds[] = {{.fd = listener, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    while (poll(fds, 2, -1) > 0 && fds[1].revents == 0) {
        int on = 1;
        pthread_t thread;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0) {
            pthread_detach(thread);
        }
    }
    return 0;
}
