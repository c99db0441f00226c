/* The event-stream parser: the standard's rules, every way of cutting a stream, the limit. */
#include "core/clock.h"
#include "core/sse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Writes the events of a stream as text: name|data|id and a line end for each. NUL shows as '0'. */
static void show(struct ah_buf *out, const struct ah_sse_event *event)
{
    ah_buf_add(out, event->name, event->name_len);
    ah_buf_add_str(out, "|");
    ah_buf_add(out, event->data, event->data_len);
    ah_buf_add_str(out, "|");
    ah_buf_add(out, event->id, event->id_len);
    ah_buf_add_str(out, "\n");
    for (size_t i = 0; i < out->len; i++) {
        out->data[i] = out->data[i] != '\0' ? out->data[i] : '0';
    }
}

/* Feeds pieces of `piece` bytes, each in memory of its own that is gone afterwards. */
static void parse(const char *stream, size_t len, size_t piece, size_t limit, struct ah_buf *out)
{
    struct ah_sse sse;
    struct ah_sse_event event;
    struct ah_err err;
    ah_sse_init(&sse, limit);
    ah_buf_init(out, 0);
    for (size_t at = 0; at < len; at += piece) {
        size_t some = len - at < piece ? len - at : piece;
        char *copy = malloc(some);
        assert_non_null(copy);
        memcpy(copy, stream + at, some);
        ah_sse_feed(&sse, copy, some);
        int rc;
        while ((rc = ah_sse_next(&sse, &event, &err)) == 1) {
            show(out, &event);
        }
        free(copy);
        assert_int_equal(rc, 0);
    }
    ah_sse_clear(&sse);
}

/* The stream has to give `wanted` however it is cut. */
#define check(stream, wanted) check_bytes(stream, sizeof(stream) - 1, wanted)
static void check_bytes(const char *stream, size_t len, const char *wanted)
{
    for (size_t piece = 1; piece <= len; piece++) {
        struct ah_buf out;
        parse(stream, len, piece, 0, &out);
        assert_string_equal(ah_buf_str(&out), wanted);
        ah_buf_clear(&out);
    }
}

static void examples_of_the_standard(void **state)
{
    (void)state;
    check("data: YHOO\ndata: +2\ndata: 10\n\n", "message|YHOO\n+2\n10|\n");
    check(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n\n",
          "message|first event|1\nmessage|second event|\nmessage| third|\n");
    check("data\n\ndata\ndata\n\ndata:", "message||\nmessage|\n|\n");
    check("data:test\n\ndata: test\n\n", "message|test|\nmessage|test|\n");
}

static void line_ends(void **state)
{
    (void)state;
    check("data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", "message|a\nb|\nmessage|c|\n");
    check("data: a\rdata: b\r\rdata: c\r\r", "message|a\nb|\nmessage|c|\n");
    check("data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", "message|a|\nmessage|b|\nmessage|c|\n");
    check("event: x\rdata: a\r\n\r", "x|a|\n");
}

static void byte_order_mark(void **state)
{
    (void)state;
    check("\xEF\xBB\xBF"
          "data: a\n\n",
          "message|a|\n");
    check("\xEF\xBB\xBF\xEF\xBB\xBF"
          "data: a\n\ndata: b\n\n",
          "message|b|\n");
    check("\xEF\xBB"
          "data: a\n\ndata: b\n\n",
          "message|b|\n");
    check("\n\xEF\xBB\xBF"
          "data: a\n\n",
          "");
    check("\xEF\xBB\xBF\n\ndata: a\n\n", "message|a|\n");
}

static void fields(void **state)
{
    (void)state;
    check("event: add\ndata: 1\n\nevent: remove\ndata: 2\n\ndata: 3\n\n",
          "add|1|\nremove|2|\nmessage|3|\n");
    check("event: lost\n\ndata: 1\n\n", "message|1|\n");
    check("event: x\nevent:\ndata: 1\n\n", "message|1|\n");
    check("event: a\nevent: b\ndata: 1\n\n", "b|1|\n");
    check("id: 7\n\ndata: 1\n\ndata: 2\n\nid:\ndata: 3\n\n",
          "message|1|7\nmessage|2|7\nmessage|3|\n");
    check("id: 7\nid: a\0b\ndata: 1\n\n", "message|1|7\n");
    check("data: a\0b\n\n", "message|a0b|\n");
    check(":data: 1\n DATA: 1\nData: 2\ndatax: 3\nfoo\n\ndata:x:y\n\n", "message|x:y|\n");
    check("data: no blank line\n", "");
    check("data: no line end", "");
    check("\n\n\n: ping\n\n\n", "");
}

static int64_t retry_of(const char *stream)
{
    struct ah_sse sse;
    struct ah_sse_event event;
    ah_sse_init(&sse, 0);
    ah_sse_feed(&sse, stream, strlen(stream));
    assert_int_equal(ah_sse_next(&sse, &event, NULL), 0);
    int64_t ms = ah_sse_retry_ms(&sse);
    ah_sse_clear(&sse);
    return ms;
}

static void retry_takes_digits_only(void **state)
{
    (void)state;
    assert_int_equal(retry_of("retry: 1500\n"), 1500);
    assert_int_equal(retry_of("retry: 0\n"), 0);
    assert_int_equal(retry_of("retry: 20\nretry: 1.5\nretry: -1\nretry: 1s\nretry:\nretry\n"), 20);
    assert_int_equal(retry_of("data: 1\n"), -1);
    assert_true(retry_of("retry: 99999999999999999999999999\n") > 0);
}

/* Random streams of the bytes that matter, cut at random places, against the uncut one. */
static void cutting_changes_nothing(void **state)
{
    (void)state;
    static const char *const parts[] = {"data", "event", "id", ":",    ": ",           "\n",
                                        "\r",   "\r\n",  "x",  "\n\n", "\xEF\xBB\xBF", "retry: 5"};
    srand(1);
    for (int round = 0; round < 2000; round++) {
        struct ah_buf stream;
        struct ah_buf whole;
        struct ah_buf cut;
        ah_buf_init(&stream, 0);
        for (int i = 0; i < 40; i++) {
            ah_buf_add_str(&stream, parts[(size_t)rand() % (sizeof parts / sizeof *parts)]);
        }
        parse(stream.data, stream.len, stream.len, 0, &whole);
        parse(stream.data, stream.len, 1 + (size_t)rand() % 7, 0, &cut);
        assert_string_equal(ah_buf_str(&cut), ah_buf_str(&whole));
        ah_buf_clear(&stream);
        ah_buf_clear(&whole);
        ah_buf_clear(&cut);
    }
}

/* Feeds the same bytes again and again until the parser gives up. */
static size_t bytes_until_failure(const char *bytes, size_t limit)
{
    struct ah_sse sse;
    struct ah_sse_event event;
    struct ah_err err = {0};
    size_t fed = 0;
    int rc = 0;
    ah_sse_init(&sse, limit);
    while (rc == 0 && fed < 100 * limit) {
        ah_sse_feed(&sse, bytes, strlen(bytes));
        fed += strlen(bytes);
        rc = ah_sse_next(&sse, &event, &err);
    }
    assert_int_equal(rc, -EMSGSIZE);
    assert_non_null(strstr(err.msg, "larger than 1000 bytes (max_event)"));
    ah_sse_feed(&sse, "\n\ndata: x\n\n", 11); /* and it stays so */
    assert_int_equal(ah_sse_next(&sse, &event, &err), -EMSGSIZE);
    ah_sse_clear(&sse);
    return fed;
}

static void limit_is_kept(void **state)
{
    (void)state;
    assert_in_range(bytes_until_failure("xxxxxxxxxx", 1000), 1000, 1020);
    assert_in_range(bytes_until_failure(":", 1000), 1000, 1020);
    assert_in_range(bytes_until_failure("data: 0123456789\n", 1000), 1000, 2000);
    assert_in_range(bytes_until_failure("data\n", 1000), 5000, 5100);

    char line[1400];
    memset(line, 'x', sizeof line);
    memcpy(line, "data: ", 6);
    memcpy(line + sizeof line - 3, "\n\n", 3);
    assert_true(bytes_until_failure(line, 1000) > 1000); /* whole in one piece */
}

static void limit_is_per_event(void **state)
{
    (void)state;
    struct ah_buf stream;
    struct ah_buf out;
    ah_buf_init(&stream, 0);
    for (int i = 0; i < 1000; i++) {
        ah_buf_add_str(&stream, ": comment\nevent: e\nid: 1\ndata: 0123456789\n\n");
    }
    parse(stream.data, stream.len, 100, 64, &out);
    assert_int_equal(out.len, 1000 * strlen("e|0123456789|1\n"));
    ah_buf_clear(&stream);
    ah_buf_clear(&out);
}

/* A stream with only one kind of line end was once searched to its end for the other, for each
 * line: 4 MB then took minutes. */
static void no_quadratic_search(void **state)
{
    (void)state;
    static const char *const blocks[] = {"data: x\r\r", "data: x\n\n", "data: x\r\n\r\n", "\r",
                                         "\n"};
    for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
        struct ah_buf stream;
        struct ah_sse sse;
        struct ah_sse_event event;
        size_t events = 0;
        ah_buf_init(&stream, 0);
        ah_sse_init(&sse, 0);
        for (int i = 0; i < 400000; i++) {
            ah_buf_add_str(&stream, blocks[b]);
        }
        ah_sse_feed(&sse, stream.data, stream.len);
        while (ah_sse_next(&sse, &event, NULL) == 1) {
            events++;
        }
        assert_int_equal(events, strlen(blocks[b]) > 1 ? 400000 : 0);
        ah_sse_clear(&sse);
        ah_buf_clear(&stream);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_standard),
        cmocka_unit_test(line_ends),
        cmocka_unit_test(byte_order_mark),
        cmocka_unit_test(fields),
        cmocka_unit_test(retry_takes_digits_only),
        cmocka_unit_test(cutting_changes_nothing),
        cmocka_unit_test(limit_is_kept),
        cmocka_unit_test(limit_is_per_event),
        cmocka_unit_test(no_quadratic_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
