/* The strings of JSON: their end, what they stand for, and writing them. */
#include "core/json_string.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_decode(const char *in, size_t len, const char *wanted, size_t wanted_len)
{
    struct ah_buf out;
    size_t at;
    bool is_control;
    char *copy = malloc(len + 1); /* without a byte behind it, for the sanitizer */
    memcpy(copy, in, len);
    ah_buf_init(&out, 0);
    char *exact = realloc(copy, len > 0 ? len : 1);
    assert_int_equal(ah_json_string_decode(exact, len, &out, &at, &is_control), 0);
    if (out.len != wanted_len || memcmp(ah_buf_str(&out), wanted, wanted_len) != 0) {
        fail_msg("'%s' became '%s'", in, ah_buf_str(&out));
    }
    free(exact);
    ah_buf_clear(&out);
}

#define decodes(in, wanted) check_decode(in, sizeof(in) - 1, wanted, sizeof(wanted) - 1)
#define BAD "\xEF\xBF\xBD"

static void decoding(void **state)
{
    (void)state;
    decodes("", "");
    decodes("plain text of more than eight bytes, and \x7f", "plain text of more than eight bytes, "
                                                             "and \x7f");
    decodes("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t");
    decodes("\\u0041\\u00e9\\u20AC\\u0000", "A\xC3\xA9\xE2\x82\xAC\0");
    decodes("\\ud83d\\ude00", "\xF0\x9F\x98\x80");
    decodes("\\ud83d", BAD);
    decodes("\\ud83dx\\ude00", BAD "x" BAD);
    decodes("\\ud83d\\ud83d\\ude00", BAD "\xF0\x9F\x98\x80");
    decodes("\\ude00\\ud83d", BAD BAD);
    decodes("\\ud83d\\n", BAD "\n");
    decodes("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
    decodes("a\xE2\x82", "a" BAD);
    decodes("\xE2\\n", BAD "\n");
    decodes("\xFF\x80\x80z\xED\xA0\x80", BAD "z" BAD);
    decodes("\xC0\xAF\xF5", BAD BAD);
}

static void check_wrong(const char *in, size_t wanted, bool wanted_control)
{
    struct ah_buf out;
    size_t at = 99;
    bool is_control = !wanted_control;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_json_string_decode(in, strlen(in), &out, &at, &is_control), -EINVAL);
    assert_int_equal(at, wanted);
    assert_int_equal(is_control, wanted_control);
    ah_buf_clear(&out);
}

static void what_is_wrong(void **state)
{
    (void)state;
    check_wrong("a\nb", 1, true);
    check_wrong("12345678\x1f", 8, true);
    check_wrong("ab\\x", 2, false);
    check_wrong("\\n\\u12g4", 2, false);
    check_wrong("\\u123", 0, false);
    check_wrong("\\", 0, false);
    check_wrong("\\ud83d\\u12", 6, false);
    check_wrong("\\U0041", 0, false);
}

static void check_end(const char *in, ptrdiff_t wanted)
{
    const char *quote = ah_json_string_end(in, in + strlen(in));
    assert_int_equal(quote != NULL ? quote - in : -1, wanted);
}

static void ends(void **state)
{
    (void)state;
    check_end("", -1);
    check_end("\"", 0);
    check_end("ab\"c\"", 2);
    check_end("a\\\"b\"", 4);
    check_end("a\\\\\"b\"", 3);
    check_end("\\\\\\\"\"", 4);
    check_end("\\\"", -1);
}

static void quoting(void **state)
{
    (void)state;
    static const char in[] = "a\"\\/\b\f\n\r\t\x01\x1f\x7f \xC3\xA9\xFFz\0";
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_json_string_quote(in, sizeof in - 1, &out), 0);
    assert_string_equal(out.data, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f \xC3\xA9" BAD
                                  "z\\u0000\"");
    ah_buf_clear(&out);
}

/* Whatever is quoted decodes to itself, broken UTF-8 apart, and ends where it ends. */
static void round_trip(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",        "some text ", "\"", "\\",
                                        "\n",       "\x7f",       "/u", "\\u0041",
                                        "\xC3\xA9", "\x01",       "\t", "\xF0\x9F\x98\x80"};
    srand(1);
    for (int round = 0; round < 3000; round++) {
        struct ah_buf in;
        struct ah_buf quoted;
        struct ah_buf out;
        size_t at;
        bool is_control;
        ah_buf_init(&in, 0);
        ah_buf_init(&quoted, 0);
        ah_buf_init(&out, 0);
        for (int i = rand() % 20; i >= 0; i--) {
            ah_buf_add_str(&in, parts[(size_t)rand() % (sizeof parts / sizeof *parts)]);
        }
        assert_int_equal(ah_json_string_quote(in.data, in.len, &quoted), 0);
        const char *inside = quoted.data + 1;
        const char *end = quoted.data + quoted.len;
        assert_ptr_equal(ah_json_string_end(inside, end), end - 1);
        size_t len = quoted.len - 2;
        assert_int_equal(ah_json_string_decode(inside, len, &out, &at, &is_control), 0);
        assert_int_equal(out.len, in.len);
        assert_memory_equal(out.data, in.data, in.len);
        if (ah_json_string_plain(inside, len) == len) {
            assert_memory_equal(inside, in.data, in.len);
        }
        ah_buf_clear(&in);
        ah_buf_clear(&quoted);
        ah_buf_clear(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding), cmocka_unit_test(what_is_wrong), cmocka_unit_test(ends),
        cmocka_unit_test(quoting),  cmocka_unit_test(round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
