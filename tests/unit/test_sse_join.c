/* Joining events that differ in one string: what is joined, what is not, and that nothing is lost.
 */
#include "core/sse_join.h"

#include "../fuzz/sse_oracle.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT "\"text_delta\",\"text\":\""
#define THINKING "\"thinking_delta\",\"thinking\":\""

static void show(struct ah_buf *out, const struct ah_sse_event *event)
{
    ah_buf_add(out, event->name, event->name_len);
    ah_buf_add_str(out, "|");
    ah_buf_add(out, event->data, event->data_len);
    ah_buf_add_str(out, "|");
    ah_buf_add(out, event->id, event->id_len);
    ah_buf_add_str(out, "\n");
}

/* The events of a stream that lies there as a whole, as text. */
static void run(const char *stream, size_t limit, struct ah_buf *out)
{
    struct ah_sse sse;
    struct ah_sse_join join;
    struct ah_sse_event event;
    struct ah_err err;
    ah_sse_init(&sse, 0);
    ah_sse_join_init(&join, limit);
    assert_int_equal(ah_sse_join_add_marker(&join, TEXT, strlen(TEXT)), 0);
    assert_int_equal(ah_sse_join_add_marker(&join, THINKING, strlen(THINKING)), 0);
    ah_sse_feed(&sse, stream, strlen(stream));
    while (ah_sse_join_next(&join, &sse, &event, &err) == 1) {
        show(out, &event);
    }
    if (ah_sse_join_flush(&join, &event)) {
        show(out, &event);
    }
    assert_false(ah_sse_join_flush(&join, &event)); /* given out once */
    ah_sse_join_clear(&join);
    ah_sse_clear(&sse);
}

static void check_limit(const char *stream, size_t limit, const char *wanted)
{
    struct ah_buf out;
    ah_buf_init(&out, 0);
    run(stream, limit, &out);
    assert_string_equal(ah_buf_str(&out), wanted);
    ah_buf_clear(&out);
}

static void check(const char *stream, const char *wanted)
{
    check_limit(stream, 0, wanted);
}

#define EVENT(text) "event: d\ndata: {\"i\":0," TEXT text "\"}}\n\n"
#define THOUGHT(text) "event: d\ndata: {\"i\":0," THINKING text "\"}}\n\n"
#define GIVES(text) "d|{\"i\":0," TEXT text "\"}}|\n"
#define GIVES_THOUGHT(text) "d|{\"i\":0," THINKING text "\"}}|\n"

static void strings_are_joined(void **state)
{
    (void)state;
    check(EVENT("one"), GIVES("one"));
    check(EVENT("one") EVENT(" two"), GIVES("one two"));
    check(EVENT("\\ud83d") EVENT("\\ude00"), GIVES("\\ud83d\\ude00"));
    check(EVENT("say \\\"") EVENT("hi\\\"\\\\") EVENT("\\n"), GIVES("say \\\"hi\\\"\\\\\\n"));
    check(THOUGHT("a") THOUGHT("b") EVENT("c") EVENT("d") THOUGHT("e"),
          GIVES_THOUGHT("ab") GIVES("cd") GIVES_THOUGHT("e"));
    check("data: " TEXT "a\"\n\ndata: " TEXT "b\"\n\n", "message|" TEXT "ab\"|\n");
}

static void others_stay_as_they_are(void **state)
{
    (void)state;
    check("data: {}\n\ndata: {}\n\n", "message|{}|\nmessage|{}|\n");
    check(EVENT("a") ": ping\n\n" EVENT("b"), GIVES("ab")); /* a comment is no event */
    check(EVENT("a") "data: ping\n\n" EVENT("b"), GIVES("a") "message|ping|\n" GIVES("b"));
    check(EVENT("a") "event: d\ndata: {\"i\":1," TEXT "b\"}}\n\n",
          GIVES("a") "d|{\"i\":1," TEXT "b\"}}|\n");
    check(EVENT("a") "event: d\ndata: {\"i\":0," TEXT "b\"}, }\n\n" EVENT("c"),
          GIVES("a") "d|{\"i\":0," TEXT "b\"}, }|\n" GIVES("c"));
    check(EVENT("a") "event: e\ndata: {\"i\":0," TEXT "b\"}}\n\n",
          GIVES("a") "e|{\"i\":0," TEXT "b\"}}|\n");
    check(EVENT("a") "id: 7\n" EVENT("b") EVENT("c"), GIVES("a") "d|{\"i\":0," TEXT "bc\"}}|7\n");
    check("data: " TEXT "a\n\ndata: " TEXT "b\n\n", "message|" TEXT "a|\nmessage|" TEXT "b|\n");
    check("data: " TEXT "a\\\"\n\ndata: " TEXT "b\\\\\\\"\n\n",
          "message|" TEXT "a\\\"|\nmessage|" TEXT "b\\\\\\\"|\n");
    check("data: " TEXT "a\ndata: b\"\n\ndata: " TEXT "a\ndata: b\"\n\n",
          "message|" TEXT "a\nb\"|\nmessage|" TEXT "a\nb\"|\n");
    check("data\ndata: " TEXT "a\"\n\ndata\ndata: " TEXT "a\"\n\n",
          "message|\n" TEXT "a\"|\nmessage|\n" TEXT "a\"|\n");
    check("data: " TEXT "a\"\ndata\n\ndata: " TEXT "a\"\ndata\n\n",
          "message|" TEXT "a\"\n|\nmessage|" TEXT "a\"\n|\n");
}

/* A server that sends `"text":"","thinking":"ha"` twice means "haha". */
static void what_counts_is_elsewhere(void **state)
{
    (void)state;
#define BOTH(text, thought) "data: {" TEXT text "\"," THINKING thought "\"}\n\n"
#define GIVES_BOTH(text, thought) "message|{" TEXT text "\"," THINKING thought "\"}|\n"
    check(EVENT("") EVENT("") EVENT("a") EVENT("") EVENT("b"),
          GIVES("") GIVES("") GIVES("a") GIVES("") GIVES("b"));
    check(BOTH("", "ha") BOTH("", "ha") BOTH("", " ho"), GIVES_BOTH("", "haha ho"));
    check(BOTH("a", "b") BOTH("a", "b"), GIVES_BOTH("a", "b") GIVES_BOTH("a", "b"));
    check(BOTH("a", "") BOTH("b", "") BOTH("", "c"), GIVES_BOTH("ab", "") GIVES_BOTH("", "c"));
}

static void size_is_bounded(void **state)
{
    (void)state;
    size_t around = strlen("{\"i\":0," TEXT "\"}}");
    check_limit(EVENT("12345") EVENT("67890") EVENT("abcde"), around + 10,
                GIVES("1234567890") GIVES("abcde"));
    check_limit(EVENT("12345") EVENT("67890"), around + 9, GIVES("12345") GIVES("67890"));
    check_limit(EVENT("12345") EVENT("1"), around + 3, GIVES("12345") GIVES("1"));

    struct ah_buf stream;
    struct ah_buf out;
    ah_buf_init(&stream, 0);
    ah_buf_init(&out, 0);
    for (int i = 0; i < 30000; i++) {
        ah_buf_add_str(&stream, EVENT("0123456789"));
    }
    run(stream.data, 0, &out);
    size_t lines = 0;
    for (const char *c = out.data; (c = strchr(c, '\n')) != NULL; c++) {
        lines++;
    }
    assert_int_equal(lines, 5); /* 300,000 bytes in pieces of 64 KiB */
    ah_buf_clear(&stream);
    ah_buf_clear(&out);
}

/* What has been received decides: an event that is there alone is not kept from the reader, and one
 * that was given out does not come again with the next. */
static void nothing_is_delayed(void **state)
{
    (void)state;
    struct ah_sse sse;
    struct ah_sse_join join;
    struct ah_sse_event event;
    struct ah_err err;
    ah_sse_init(&sse, 0);
    ah_sse_join_init(&join, 0);
    assert_int_equal(ah_sse_join_add_marker(&join, TEXT, strlen(TEXT)), 0);
    for (int i = 0; i < 3; i++) {
        ah_sse_feed(&sse, EVENT("ab"), strlen(EVENT("ab")));
        assert_int_equal(ah_sse_join_next(&join, &sse, &event, &err), 0);
        assert_true(ah_sse_join_flush(&join, &event));
        assert_int_equal(event.data_len, strlen("{\"i\":0," TEXT "ab\"}}"));
    }
    ah_sse_feed(&sse, EVENT("a"), strlen(EVENT("a"))); /* without a flush it waits for the next */
    assert_int_equal(ah_sse_join_next(&join, &sse, &event, &err), 0);
    ah_sse_feed(&sse, EVENT("b"), strlen(EVENT("b")));
    assert_int_equal(ah_sse_join_next(&join, &sse, &event, &err), 0);
    assert_true(ah_sse_join_flush(&join, &event));
    assert_non_null(strstr(event.data, ":\"ab\""));
    ah_sse_join_clear(&join);
    ah_sse_clear(&sse);
}

/* Too large an event fails the stream, but the one before it comes out first. */
static void failure_comes_last(void **state)
{
    (void)state;
    struct ah_sse sse;
    struct ah_sse_join join;
    struct ah_sse_event event;
    struct ah_err err;
    static char stream[4000] = EVENT("a") EVENT("b") "data: ";
    memset(stream + strlen(stream), 'x', sizeof stream - strlen(stream) - 1);
    ah_sse_init(&sse, 1000);
    ah_sse_join_init(&join, 0);
    assert_int_equal(ah_sse_join_add_marker(&join, TEXT, strlen(TEXT)), 0);
    ah_sse_feed(&sse, stream, strlen(stream));
    assert_int_equal(ah_sse_join_next(&join, &sse, &event, &err), 1);
    assert_non_null(strstr(event.data, ":\"ab\""));
    assert_int_equal(ah_sse_join_next(&join, &sse, &event, &err), -EMSGSIZE);
    assert_int_equal(ah_sse_join_next(&join, &sse, &event, &err), -EMSGSIZE);
    ah_sse_join_clear(&join);
    ah_sse_clear(&sse);
}

static void markers_are_checked(void **state)
{
    (void)state;
    struct ah_sse_join join;
    char longest[AH_SSE_JOIN_MARKER_MAX + 1];
    memset(longest, '"', sizeof longest);
    ah_sse_join_init(&join, 0);
    assert_int_equal(ah_sse_join_add_marker(&join, "", 0), -EINVAL);
    assert_int_equal(ah_sse_join_add_marker(&join, "\"text\":", 7), -EINVAL);
    assert_int_equal(ah_sse_join_add_marker(&join, longest, sizeof longest), -EINVAL);
    for (int i = 0; i < AH_SSE_JOIN_MARKERS; i++) {
        assert_int_equal(ah_sse_join_add_marker(&join, longest, sizeof longest - 1), 0);
    }
    assert_int_equal(ah_sse_join_add_marker(&join, "\"", 1), -E2BIG);
    ah_sse_join_clear(&join);
}

/* Random streams of what a provider sends, in random pieces: the texts, their order and the other
 * events are the same with and without the join. */
static void nothing_is_lost(void **state)
{
    (void)state;
    static const char *const parts[] = {
        EVENT("a"),
        EVENT("b"),
        EVENT("\\\"\\\\"),
        EVENT("\\ud83d"),
        EVENT("\\ude00"),
        EVENT(""),
        EVENT("something longer, as it comes from a server that is quick"),
        "data: {\"t\":\"x\"}\n\n",
        "data: {\"t\":\"yy\"}\r\n\r\n",
        "data: {\"t\":\"z\"} \n\n",
        "data: {\"t\":\"open\n\n",
        "data: {\"t\":\"open\\\"}\n\n",
        "data: {\"t\":\"x\",\"t\":\"x\"}\n\n",
        "data: {\"t\":\"\",\"t\":\"x\"}\n\n",
        "data: {\"t\":\"two\ndata: lines\"}\n\n",
        "id: 1\n",
        "id\n",
        ": ping\n\n",
        "event: ping\ndata: {}\n\n",
        "event: d\n",
        "data: {\"i\":0,\n",
        "\n",
    };
    size_t plain = 0;
    size_t joined = 0;
    srand(1);
    for (unsigned round = 1; round <= 3000; round++) {
        struct ah_buf stream;
        ah_buf_init(&stream, 0);
        /* Some streams of few kinds of parts, so that long runs come up. */
        size_t kinds = round % 2 == 0 ? sizeof parts / sizeof *parts : 1 + (size_t)rand() % 8;
        for (int i = 0; i < 60; i++) {
            ah_buf_add_str(&stream, parts[(size_t)rand() % kinds]);
        }
        const char *wrong = sse_oracle((const uint8_t *)stream.data, stream.len, round / 2);
        if (wrong != NULL) {
            fail_msg("round %u: %s in\n%s", round, wrong, stream.data);
        }
        plain += sse_oracle_plain;
        joined += sse_oracle_joined;
        ah_buf_clear(&stream);
    }
    print_message("%zu events became %zu\n", plain, joined);
    assert_true(joined < plain * 3 / 4); /* it was put to the test */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_joined),       cmocka_unit_test(others_stay_as_they_are),
        cmocka_unit_test(what_counts_is_elsewhere), cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(nothing_is_delayed),       cmocka_unit_test(failure_comes_last),
        cmocka_unit_test(markers_are_checked),      cmocka_unit_test(nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
