#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(literal) literal, sizeof(literal) - 1

/* ---- the filter ---- */

static void filter_in_chunks(enum ah_text_cr cr, const char *in, size_t len, size_t first,
                             size_t step, struct ah_buf *out)
{
    struct ah_text_filter filter;
    ah_text_filter_init(&filter, cr);
    assert_int_equal(ah_text_filter_feed(&filter, in, first, out), 0);
    for (size_t at = first; at < len; at += step) {
        size_t n = len - at < step ? len - at : step;
        assert_int_equal(ah_text_filter_feed(&filter, in + at, n, out), 0);
    }
    assert_int_equal(ah_text_filter_finish(&filter, out), 0);
    assert_int_equal(filter.bytes, len);
}

/* The same result whole, split at every point, and byte by byte. */
static void check_filter(enum ah_text_cr cr, const char *in, size_t len, const char *expected,
                         size_t expected_len)
{
    for (size_t split = 0; split <= len + 1; split++) {
        struct ah_buf out;
        ah_buf_init(&out, 0);
        bool bytewise = split == len + 1;
        filter_in_chunks(cr, in, len, bytewise ? 0 : split, bytewise ? 1 : len, &out);
        if (out.len != expected_len || memcmp(ah_buf_str(&out), expected, expected_len) != 0) {
            fail_msg("split at %zu: got \"%s\", expected \"%s\"", split, ah_buf_str(&out),
                     expected);
        }
        ah_buf_clear(&out);
    }
}

#define CHECK(in, expected) check_filter(AH_TEXT_CR_DROP, BYTES(in), BYTES(expected))

static void test_plain_text_passes(void **state)
{
    (void)state;
    CHECK("", "");
    CHECK("hello\tworld\n", "hello\tworld\n");
    CHECK("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80 \xe6\x97\xa5", "na\xc3\xafve \xe2\x82\xac "
                                                                     "\xf0\x9f\x98\x80 "
                                                                     "\xe6\x97\xa5");
    CHECK("\xf4\x8f\xbf\xbf\xee\x80\x80\xed\x9f\xbf", "\xf4\x8f\xbf\xbf\xee\x80\x80\xed\x9f\xbf");
}

static void test_escape_sequences(void **state)
{
    (void)state;
    CHECK("a\033[31mb\033[0mc", "abc");
    CHECK("a\033[38;2;1;2;3mb", "ab");
    CHECK("a\033[?25lb\033[>4;2mc\033[ qd", "abcd");
    CHECK("a\033]0;title\ab", "ab");
    CHECK("a\033]8;;http://x\033\\link\033]8;;\033\\b", "alinkb");
    CHECK("a\033]0;t\xc3\xaft\xc2\x9c"
          "b",
          "ab");
    CHECK("a\033Pq#0;2;0;0;0\033\\b\033^x\033\\c\033_y\033\\d\033Xz\033\\e", "abcde");
    CHECK("a\033kscreen\033\\b", "ab");
    CHECK("a\033(Bb\0337c\033=d\033#8e\033%Gf", "abcdef");
    CHECK("a\xc2\x9b"
          "31mb\xc2\x9d"
          "0;t\ac\xc2\x90q\xc2\x9c"
          "d",
          "abcd");
    CHECK("a\033\033[1mb", "ab");
    CHECK("a\033]0;x\033[1mb", "ab"); /* an OSC cut by another sequence */
    CHECK("a\033]0;x\030b", "ab");    /* CAN */
    CHECK("a\033Px\ay\033\\b", "ab"); /* BEL does not end a DCS */
}

static void test_cut_sequences_cost_no_text(void **state)
{
    (void)state;
    CHECK("a\033", "a");
    CHECK("a\033[", "a");
    CHECK("a\033[3\nhello", "a\nhello");
    CHECK("a\033\nb", "a\nb");
    CHECK("a\033[3\xc3\xa9m", "a\xc3\xa9m");
    CHECK("a\033\xff"
          "b",
          "a\xef\xbf\xbd"
          "b");
    CHECK("a\033]0;t", "a");
    CHECK("a\033]0;t\033", "a");
}

static void test_controls(void **state)
{
    (void)state;
    CHECK("a\0b\001c\ad\be\vf\fg\016h\177i", "abcdefghi");
    CHECK("a\xc2\x80"
          "b\xc2\x85"
          "c\xc2\x9f",
          "abc");
    CHECK("a\xe2\x80\xae"
          "b\xe2\x80\xaa"
          "c\xe2\x81\xa6"
          "d\xe2\x81\xa9"
          "e\xe2\x80\x8e"
          "f\xe2\x80\x8f"
          "g\xd8\x9ch",
          "abcdefgh");
    CHECK("\xef\xbb\xbf"
          "a",
          "a");
    CHECK("a\xf3\xa0\x81\xa1\xf3\xa0\x80\x81z", "az"); /* tag characters */
    /* Their neighbours stay. */
    CHECK("\xe2\x80\x8d\xe2\x80\x90\xe2\x80\xa9\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa",
          "\xe2\x80\x8d\xe2\x80\x90\xe2\x80\xa9\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa");
}

static void test_carriage_returns(void **state)
{
    (void)state;
    CHECK("a\r\nb", "a\nb");
    CHECK("a\r\r\nb", "a\nb");
    CHECK("a\rb", "ab");
    CHECK("a\r", "a");
    CHECK("a\r\033[K\nb", "a\nb");
    check_filter(AH_TEXT_CR_NEWLINE, BYTES("a\rb\r\r\nc\r"), BYTES("a\nb\nc\n"));
    check_filter(AH_TEXT_CR_NEWLINE, BYTES("a\r\rb"), BYTES("a\nb"));
    check_filter(AH_TEXT_CR_KEEP, BYTES("a\rb\r\nc\bd\033[2K\033[Ge\033[3Gf"),
                 BYTES("a\rb\nc\bd\ref"));
}

#define BAD "\xef\xbf\xbd"

static void test_utf8_repair(void **state)
{
    (void)state;
    CHECK("\x80", BAD);
    CHECK("a\xff\xfe"
          "b",
          "a" BAD BAD "b");
    CHECK("\xc3(", BAD "(");
    CHECK("\xc0\xaf", BAD BAD); /* overlong */
    CHECK("\xe0\x80\xaf", BAD BAD BAD);
    CHECK("\xf0\x80\x80\xaf", BAD BAD BAD BAD);
    CHECK("\xed\xa0\x80", BAD BAD BAD); /* surrogate */
    CHECK("\xf4\x90\x80\x80", BAD BAD BAD BAD);
    CHECK("\xf5\x80", BAD BAD);
    CHECK("\xe2\x82", BAD); /* one maximal subpart, cut at the end */
    CHECK("\xe2\x82g", BAD "g");
    CHECK("\xf0\x9f\x98\xf0\x9f\x98\x80", BAD "\xf0\x9f\x98\x80");
    /* From the Unicode standard, table 3-8. */
    CHECK("\xf0\x80\x80\x41\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41",
          BAD BAD BAD "A" BAD BAD BAD BAD "A");
}

static void test_unterminated_escape_is_bounded(void **state)
{
    (void)state;
    static const char *const intros[] = {"\033]", "\033[", "\033P", "\xc2\x9d"};
    for (size_t i = 0; i < sizeof intros / sizeof *intros; i++) {
        struct ah_buf in;
        struct ah_buf out;
        ah_buf_init(&in, 0);
        ah_buf_init(&out, 0);
        assert_int_equal(ah_buf_add_str(&in, intros[i]), 0);
        while (in.len < AH_TEXT_ESCAPE_MAX) {
            assert_int_equal(ah_buf_add_str(&in, "1"), 0);
        }
        assert_int_equal(ah_buf_add_str(&in, "text"), 0);
        filter_in_chunks(AH_TEXT_CR_DROP, in.data, in.len, 0, 7, &out);
        assert_string_equal(ah_buf_str(&out), "text");
        ah_buf_clear(&in);
        ah_buf_clear(&out);
    }
}

static void test_limit_of_buffer(void **state)
{
    (void)state;
    struct ah_text_filter filter;
    struct ah_buf out;
    ah_buf_init(&out, 4);
    ah_text_filter_init(&filter, AH_TEXT_CR_DROP);
    assert_int_equal(ah_text_filter_feed(&filter, BYTES("abcdef"), &out), -EMSGSIZE);
    assert_int_equal(ah_text_clean(BYTES("abcdef"), &out, NULL), -EMSGSIZE);
    assert_int_equal(out.len, 0);
    assert_int_equal(ah_text_escape_markup(BYTES("a<b"), &out), -EMSGSIZE);
    assert_int_equal(out.len, 0);
    ah_buf_clear(&out);
}

/* Whatever goes in, what comes out is valid UTF-8 without controls, and cleaning it again changes
 * nothing. */
static void test_random_bytes_come_out_clean(void **state)
{
    (void)state;
    static const char likely[] = "\033[]P;m\a\\\r\n\b\t a\xc2\x9b\x9d\xe2\x80\xae\xf0\x9f\xed\xa0";
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        char in[120];
        struct ah_buf once;
        struct ah_buf twice;
        struct ah_buf split;
        ah_buf_init(&once, 0);
        ah_buf_init(&twice, 0);
        ah_buf_init(&split, 0);
        for (size_t i = 0; i < sizeof in; i++) {
            seed = seed * 1664525 + 1013904223;
            uint32_t r = seed >> 8;
            in[i] = r & 1 ? likely[(r >> 1) % (sizeof likely - 1)] : (char)(r >> 1);
        }
        filter_in_chunks(AH_TEXT_CR_DROP, in, sizeof in, 0, sizeof in, &once);
        filter_in_chunks(AH_TEXT_CR_DROP, in, sizeof in, (size_t)round % sizeof in, 3, &split);
        assert_int_equal(once.len, split.len);
        assert_memory_equal(ah_buf_str(&once), ah_buf_str(&split), once.len);
        struct ah_text_info info;
        assert_int_equal(ah_text_clean(ah_buf_str(&once), once.len, &twice, &info), 0);
        assert_int_equal(info.replaced, 0);
        assert_int_equal(once.len, twice.len);
        assert_memory_equal(ah_buf_str(&once), ah_buf_str(&twice), once.len);
        for (size_t i = 0; i < once.len; i++) {
            unsigned char c = (unsigned char)once.data[i];
            assert_true((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t');
        }
        ah_buf_clear(&once);
        ah_buf_clear(&twice);
        ah_buf_clear(&split);
    }
}

/* ---- clean ---- */

static void check_clean(const char *in, size_t len, const char *expected)
{
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_buf_add_str(&out, "before\n"), 0);
    assert_int_equal(ah_text_clean(in, len, &out, NULL), 0);
    assert_memory_equal(out.data, "before\n", 7);
    assert_string_equal(out.data + 7, expected);
    ah_buf_clear(&out);
}

static void test_clean_resolves_lines(void **state)
{
    (void)state;
    check_clean(BYTES(""), "");
    check_clean(BYTES("10%\r50%\r100%\ndone\n"), "100%\ndone\n");
    check_clean(BYTES("10%\r100%\r\n"), "100%\n");
    check_clean(BYTES("10%\r100%\r"), "100%");
    check_clean(BYTES("\rfirst"), "first");
    check_clean(BYTES("one\ntwo\rthree\r\033[K\n"), "one\nthree\n");
    check_clean(BYTES("a\033[2K\033[1Gb\033[2K\033[Gc\n"), "c\n");
    check_clean(BYTES("abc\b\bX"), "aX");
    check_clean(BYTES("|\b/\b-\b\\\b\n"), "\\\n");
    check_clean(BYTES("b\bbo\bol\bld\bd _\bx"), "bold x"); /* a manual page */
    check_clean(BYTES("\xc3\xa9\xe2\x82\xac\bx"), "\xc3\xa9x");
    check_clean(BYTES("a\nb\b\b\b\bc"), "a\nc");
    check_clean(BYTES("ab\r\bc"), "c");
}

static bool is_binary(const char *in, size_t len)
{
    struct ah_text_info info;
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_text_clean(in, len, &out, &info), 0);
    assert_int_equal(info.bytes, len);
    ah_buf_clear(&out);
    return info.binary;
}

static void test_binary(void **state)
{
    (void)state;
    char bytes[20000];
    assert_true(is_binary(BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0")));
    assert_true(is_binary(BYTES("\x1f\x8b\x08\0\0\0\0\0\0\3\xcbH\xcd\xc9\xc9\7\0\x86\xa6\x10")));
    assert_true(is_binary(BYTES("\xff\xfeh\0i\0")));
    assert_true(is_binary(BYTES("h\0e\0l\0l\0o\0")));
    assert_true(is_binary(BYTES("\xfe\xff\x65\xe5\x67\x2c")));
    uint32_t seed = 7;
    for (size_t i = 0; i < sizeof bytes; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (char)(1 + (seed >> 9) % 255); /* compressed data without one NUL */
    }
    assert_true(is_binary(bytes, sizeof bytes));
    memset(bytes, 'a', sizeof bytes);
    assert_false(is_binary(bytes, sizeof bytes));
    memset(bytes + 100, 0, 31);
    assert_false(is_binary(bytes, sizeof bytes)); /* under 1 % and under 32 */
    bytes[5000] = '\0';
    assert_true(is_binary(bytes, sizeof bytes));

    assert_false(is_binary(BYTES("")));
    assert_false(is_binary(BYTES("\xe9t\xe9\n")));
    assert_false(is_binary(BYTES("caf\xe9 cr\xe8me, d\xe9j\xe0 vu: un texte en Latin-1\n")));
    assert_false(is_binary(BYTES("\033[31mr\033[32mg\033[34mb\033[0m\r\n\a\b")));
    assert_false(is_binary(BYTES("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\n")));
}

static void test_replaced_counts_bytes(void **state)
{
    (void)state;
    struct ah_text_info info;
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_text_clean(BYTES("a\xe2\x82z\xff\xf0\x9f\x98"), &out, &info), 0);
    assert_int_equal(info.replaced, 6);
    assert_string_equal(ah_buf_str(&out), "a" BAD "z" BAD BAD);
    ah_buf_clear(&out);
}

/* ---- views ---- */

static void check_preview(const char *in, size_t max, double share, const char *expected)
{
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_text_preview(in, strlen(in), max, share, &out), 0);
    assert_string_equal(ah_buf_str(&out), expected);
    ah_buf_clear(&out);
}

static void test_preview(void **state)
{
    (void)state;
    check_preview("", 0, 0.5, "");
    check_preview("0123456789", 10, 0.5, "0123456789");
    check_preview("0123456789", 4, 0.5, "01\n[... 6 characters left out ...]\n89");
    check_preview("0123456789", 4, 1, "0123\n[... 6 characters left out ...]");
    check_preview("0123456789", 4, 0, "[... 6 characters left out ...]\n6789");
    check_preview("0123456789", 0, 0.5, "[... 10 characters left out ...]");
    check_preview("0123456789", 4, -3, "[... 6 characters left out ...]\n6789");
    /* Characters, not bytes. */
    check_preview("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 3, 0.5,
                  "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e");
    check_preview("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 2, 0.5,
                  "\xe6\x97\xa5\n[... 1 characters left out ...]\n\xe8\xaa\x9e");
    /* A cut goes to the end of a line that is near. */
    check_preview("aaaaaaa\nbbbbbbb\nccccccc\nddddddd\n", 20, 0.5,
                  "aaaaaaa\n[... 16 characters left out ...]\nddddddd\n");
    check_preview("aaaaaaa\nbbbbbbb\nccccccc\nddddddd\n", 16, 0.5,
                  "aaaaaaa\n[... 16 characters left out ...]\nddddddd\n");
    check_preview("a\nbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\nc", 20, 0.5,
                  "a\nbbbbbbbb\n[... 19 characters left out ...]\nbbbbbbbb\nc");
}

static void test_escape_markup(void **state)
{
    (void)state;
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_text_escape_markup(BYTES("</task a=\"1\">&amp;"), &out), 0);
    assert_string_equal(ah_buf_str(&out), "&lt;/task a=\"1\"&gt;&amp;amp;");
    ah_buf_clear(&out);
}

static void check_width(const char *text, size_t expected)
{
    assert_int_equal(ah_text_width(text, strlen(text)), expected);
}

static void test_width(void **state)
{
    (void)state;
    check_width("", 0);
    check_width("hello", 5);
    check_width("na\xc3\xafve", 5);
    check_width("nai\xcc\x88ve", 5);                        /* combining diaeresis */
    check_width("\xe6\x97\xa5\xe6\x9c\xac", 4);             /* CJK */
    check_width("\xef\xbc\xa1\xef\xbd\xb1", 3);             /* fullwidth, halfwidth */
    check_width("\xed\x95\x9c", 2);                         /* Hangul */
    check_width("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", 2); /* the same, joined from letters */
    check_width("\xf0\x9f\x98\x80", 2);
    check_width("\xe2\x9c\x93\xe2\x9c\x85", 3);         /* check mark, emoji check mark */
    check_width("\xe2\x9d\xa4\xef\xb8\x8f", 1);         /* heart and variation selector */
    check_width("a\xe2\x80\x8d\xe2\x80\x8b\xe2\x81\xa0" // joiner, zero width space, word joiner
                "b",
                2);
    check_width("\xf0\xa0\x80\x80\xe3\x80\x80", 4);
    check_width("\xf0\x9f\xab\xa9", 2); /* an emoji of Unicode 16 */
    check_width("a\tb\t", 16);
    check_width("12345678\t", 16);
    check_width("a\033\nb", 2);
    check_width("\xff\xe6\x97", 3);
    check_width("\xe2\x94\x82\xe2\x80\xa6\xc2\xad", 3); /* box line, ellipsis, soft hyphen */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_text_passes),
        cmocka_unit_test(test_escape_sequences),
        cmocka_unit_test(test_cut_sequences_cost_no_text),
        cmocka_unit_test(test_controls),
        cmocka_unit_test(test_carriage_returns),
        cmocka_unit_test(test_utf8_repair),
        cmocka_unit_test(test_unterminated_escape_is_bounded),
        cmocka_unit_test(test_limit_of_buffer),
        cmocka_unit_test(test_random_bytes_come_out_clean),
        cmocka_unit_test(test_clean_resolves_lines),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_replaced_counts_bytes),
        cmocka_unit_test(test_preview),
        cmocka_unit_test(test_escape_markup),
        cmocka_unit_test(test_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
