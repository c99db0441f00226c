/* Markdown as text for a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/markdown.h"
#include "core/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ah_buf render(const char *text, size_t len, size_t width, bool colour,
                            bool unfinished)
{
    struct ah_markdown_options options = {
        .width = width, .colour = colour, .unfinished = unfinished};
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_markdown_render(text, len, &options, &out), 0);
    return out;
}

static void check(size_t width, bool colour, const char *in, const char *expected)
{
    struct ah_buf out = render(in, strlen(in), width, colour, false);
    if (strcmp(ah_buf_str(&out), expected) != 0) {
        fail_msg("at %zu columns\n%s\ngave\n%s\nexpected\n%s", width, in, ah_buf_str(&out),
                 expected);
    }
    ah_buf_clear(&out);
}

#define PLAIN(width, in, expected) check(width, false, in, expected)
#define COLOUR(in, expected) check(80, true, in, expected)

/* ---- what things look like ---- */

static void test_inline(void **state)
{
    (void)state;
    COLOUR("a **b** *c* `d` ~~e f~~ ***g***", "a \033[1mb\033[0m \033[3mc\033[0m \033[36md\033[0m "
                                              "\033[9me\033[0m\033[9m \033[0m\033[9mf\033[0m "
                                              "\033[1;3mg\033[0m\n");
    PLAIN(80, "a **b** *c* `d` ~~e f~~", "a b c `d` ~~e f~~\n");
    COLOUR("a[b](http://c.d)e", "ab \033[2m(http://c.d)\033[0me\n");
    PLAIN(80, "<http://a.b> [http://a.b](http://a.b) <x@y.z> [a](mailto:a)",
          "http://a.b http://a.b x@y.z a\n");
    PLAIN(80, "![alt](u.png) ![](v.png) [![b](i)](l)", "alt (u.png) (v.png) b (i) (l)\n");
    PLAIN(80, "&amp;&lt;&#65;&#x42;&hellip; &nosuch; \\*x\\*", "&<AB… &nosuch; *x*\n");
    PLAIN(80, "one  \ntwo\\\nthree\nfour", "one\ntwo\nthree four\n");
    PLAIN(80, "2 * 3 * 4 snake_case_name", "2 * 3 * 4 snake_case_name\n");
    PLAIN(80, "<b>x</b> <!-- y -->\n\n<div>\nz\n</div>", "<b>x</b> <!-- y -->\n\n<div> z </div>\n");
}

static void test_headings_and_rules(void **state)
{
    (void)state;
    COLOUR("# A `b`\ntext", "\033[1mA\033[0m \033[1;36mb\033[0m\ntext\n");
    PLAIN(80, "# A\n\n### B ###\n", "# A\n\n### B\n");
    PLAIN(20, "A\nb\n===\nc", "A b\n────────────────────\nc\n");
    PLAIN(20, "a\n\n***\n\nb\n", "a\n\n────────────────────\n\nb\n");
    PLAIN(20, "#\n\n#hash", "#hash\n");
}

static void test_lists(void **state)
{
    (void)state;
    PLAIN(20, "- one two three four five\n- b\n  - c\n\n    d\n",
          "• one two three four\n  five\n• b\n  • c\n\n    d\n");
    PLAIN(20, "9. nine\n10. ten and more words\n", "9. nine\n10. ten and more\n    words\n");
    PLAIN(40, "1. a\n1. b\n", "1. a\n2. b\n");
    PLAIN(40, "- [ ] a\n- [x] b\n-\n- c\n", "[ ] a\n[x] b\n•\n• c\n");
    PLAIN(40, "- a\n\n- b\n", "• a\n\n• b\n");
    PLAIN(40, "1) a\n\n   ```\n   x\n   ```\n2) b", "1) a\n\n     x\n2) b\n");
}

static void test_quotes(void **state)
{
    (void)state;
    PLAIN(20, "> one two three four five\n>\n> - a\n>\n>   b\n",
          "│ one two three four\n│ five\n│\n│ • a\n│\n│   b\n");
    COLOUR("> > x", "\033[2m│\033[0m \033[2m│\033[0m x\n");
}

static void test_code(void **state)
{
    (void)state;
    const char *in = "Do:\n```sh\n\n a   very long line of code that is not wrapped at all\n\n"
                     "\tb [x](y) **z** &amp; [d]: e\n```\nend";
    PLAIN(20, in,
          "Do:\n   a   very long line of code that is not wrapped at all\n\n"
          "      b [x](y) **z** &amp; [d]: e\nend\n");
    PLAIN(20, "~~~\n[a]: b\n|---|\n~~~", "  [a]: b\n  |---|\n");
    PLAIN(20, "    indented\n\n    code", "  indented\n\n  code\n");
    COLOUR("```\nx\n```", "  \033[36mx\033[0m\n");
    PLAIN(20, "```\n```", "");
    PLAIN(20, "```\nx   \n   \ny\n```", "  x\n\n  y\n");
}

static void test_definitions_are_text(void **state)
{
    (void)state;
    PLAIN(40, "See [a] and [b][a].\n\n[a]: http://x.y\n",
          "See [a] and [b][a].\n\n[a]: http://x.y\n");
    PLAIN(40, "> - [ ] [a]: b", "│ [ ] [a]: b\n");
}

/* ---- tables ---- */

static void test_tables(void **state)
{
    (void)state;
    const char *in = "| Name | n | x |\n|:---|---:|:-:|\n| a b | 1 | m |\n| cc | 22 |\n";
    PLAIN(80, in,
          "┌──────┬────┬───┐\n"
          "│ Name │  n │ x │\n"
          "├──────┼────┼───┤\n"
          "│ a b  │  1 │ m │\n"
          "│ cc   │ 22 │   │\n"
          "└──────┴────┴───┘\n");
    PLAIN(200, "a|b\n---|---\n", "┌───┬───┐\n│ a │ b │\n└───┴───┘\n");
    COLOUR("| **a** |\n|---|\n| `b` |",
           "┌───┐\n│ \033[1ma\033[0m │\n├───┤\n│ \033[36mb\033[0m │\n└───┘\n");
    PLAIN(20, "|long header|x|\n|---|---|\n|some words here|verylongword|\n|c|d|",
          "┌─────────┬────────┐\n"
          "│ long    │ x      │\n"
          "│ header  │        │\n"
          "├─────────┼────────┤\n"
          "│ some    │ verylo │\n"
          "│ words   │ ngword │\n"
          "│ here    │        │\n"
          "├─────────┼────────┤\n"
          "│ c       │ d      │\n"
          "└─────────┴────────┘\n");
    PLAIN(40, "- a | b\n  ---|---\n  1 | 2\n",
          "• ┌───┬───┐\n  │ a │ b │\n  ├───┼───┤\n"
          "  │ 1 │ 2 │\n  └───┴───┘\n");
}

static void test_wide_characters_in_tables(void **state)
{
    (void)state;
    PLAIN(40, "|日本|e\u0301|\n|---|---|\n|x|✅ ok|\n|👩‍💻|⚠️|\n",
          "┌──────┬───────┐\n"
          "│ 日本 │ e\u0301     │\n"
          "├──────┼───────┤\n"
          "│ x    │ ✅ ok │\n"
          "│ 👩‍💻   │ ⚠️    │\n"
          "└──────┴───────┘\n");
}

static void test_narrow_tables_are_lists(void **state)
{
    (void)state;
    PLAIN(20, "|First|Second|Third|\n|---|---|---|\n|aaaa|bbbb|cccc cccc cccc|\n|d| |f|",
          "First: aaaa\nSecond: bbbb\nThird: cccc cccc\ncccc\n\nFirst: d\nThird: f\n");
}

static void test_what_is_no_table(void **state)
{
    (void)state;
    PLAIN(40, "no bars\n|---|\n", "no bars |---|\n");
    PLAIN(80, "the first bar comes late in this | line\n|---|---|\n",
          "the first bar comes late in this | line |---|---|\n");
}

/* ---- widths ---- */

static void test_wrapping(void **state)
{
    (void)state;
    PLAIN(20, "aaaa bbbb cccc dddd eeee", "aaaa bbbb cccc dddd\neeee\n");
    PLAIN(20, "aaaa bbbb cccc dddde ffff", "aaaa bbbb cccc dddde\nffff\n");
    PLAIN(20, "x 0123456789012345678901234", "x\n01234567890123456789\n01234\n");
    PLAIN(20, "see https://example.com/a/long/path ok",
          "see\nhttps://example.com/a/long/path\nok\n");
    PLAIN(40, "aaaa bbbb cccc dddd eeee ffff gggg hhhh iiii jjjj",
          "aaaa bbbb cccc dddd eeee ffff gggg hhhh\niiii jjjj\n");
    PLAIN(1, "aaaa bbbb cccc dddd eeee", "aaaa bbbb cccc\ndddd eeee\n"); /* as if it were 16 */
    PLAIN(100000, "a b", "a b\n");
    /* Chinese and Japanese break anywhere, but not before a full stop. */
    PLAIN(20, "一二三四五六七八九十一二三", "一二三四五六七八九十\n一二三\n");
    PLAIN(20, "一二三四五六七八九十。一二", "一二三四五六七八九\n十。一二\n");
    PLAIN(20, "aaaa bbbb cccc dddd 👩‍👩‍👧‍👦👩‍👩‍👧‍👦",
          "aaaa bbbb cccc dddd\n👩‍👩‍👧‍👦👩‍👩‍👧‍👦\n");
    PLAIN(20, "0123456789012345678e\u0301e\u0301", "0123456789012345678e\u0301\ne\u0301\n");
}

static void check_cluster(const char *text, size_t len, size_t width)
{
    size_t got = 99;
    assert_int_equal(ah_text_cluster(text, strlen(text), &got), len);
    assert_int_equal(got, width);
}

static void test_clusters(void **state)
{
    (void)state;
    check_cluster("ab", 1, 1);
    check_cluster("e\u0301x", 3, 1);
    check_cluster("日本", 3, 2);
    check_cluster("⚠️x", 6, 2);
    check_cluster("1️⃣x", 7, 2);
    check_cluster("👩‍💻x", 11, 2);
    check_cluster("👍🏽x", 8, 2);
    check_cluster("🇩🇪🇫🇷", 8, 2);
    check_cluster("a\u200db", 4, 1); /* between letters a joiner joins nothing */
    check_cluster("e\u0301\xc2\x85", 3, 1);
    check_cluster("\xff", 1, 1);
    check_cluster("\xe6\x97", 1, 1);
}

/* ---- what comes slowly ---- */

static const char *const slow_texts[] = {
    ("# Title *x*\nSome **bold words** and `code` in a paragraph, [a link](http://x.y) too.\n\n"
     "1. one\n2. two\n   - sub *a\n   b*\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nafter `it\n\nend"),
    ("Setext\nheading\n---\n> quote **over\n> lines** end\n\n- [ ] task\n- [x] done\n- [a](b)\n"),
    ("```lua\nlocal x = 1\n\n\nreturn x\n```\nx ``a`b`` <http://a.b> 2 * 3 \\* ~~s~~\n***\n"),
    ("日本語の**文章**です。一二三四五\n\n- a\n\n  b\n\n1. x\n2. y\n\n5. z\n"),
    ("a paragraph that goes on\n[``x\n    > \n| y](u)\n"),
    ("```\nspaces at the end   \n   \nof a line\n```\n"),
    ("a | b\n---|---\n`c|` | d\n\n`\ncode on the next line` [\nlink](u) x\n"),
};

/* What is shown of each beginning is the beginning of what is shown in the end. */
static void check_slow(const char *text, size_t width, bool colour)
{
    size_t len = strlen(text);
    struct ah_buf whole = render(text, len, width, colour, false);
    for (size_t n = 0; n <= len; n++) {
        struct ah_buf part = render(text, n, width, colour, true);
        if (part.len > whole.len || memcmp(ah_buf_str(&part), ah_buf_str(&whole), part.len) != 0) {
            fail_msg("after %zu bytes of\n%s\nthere was\n%s", n, text, ah_buf_str(&part));
        }
        ah_buf_clear(&part);
    }
    ah_buf_clear(&whole);
}

static void test_slow_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof slow_texts / sizeof *slow_texts; i++) {
        check_slow(slow_texts[i], 20, false);
        check_slow(slow_texts[i], 80, true);
    }
}

static void check_unfinished(const char *in, const char *expected)
{
    struct ah_buf out = render(in, strlen(in), 80, true, true);
    assert_string_equal(ah_buf_str(&out), expected);
    ah_buf_clear(&out);
}

static void test_text_shows_early(void **state)
{
    (void)state;
    check_unfinished("A paragraph that is long eno", "A paragraph that is long");
    check_unfinished("A paragraph that is long enough **bold", "A paragraph that is long enough");
    check_unfinished("A paragraph that is long enough **bold** w",
                     "A paragraph that is long enough \033[1mbold\033[0m");
    check_unfinished("A paragraph that is long enough array[0] and it",
                     "A paragraph that is long enough array[0] and");
    check_unfinished("A paragraph that is long enough [link](http://a",
                     "A paragraph that is long enough");
    check_unfinished("- item with some more words in", "• item with some more words");
    check_unfinished("- item\n- ", "• item");
    check_unfinished("```\nline 1\nline 2\nlin",
                     "  \033[36mline 1\033[0m\n  \033[36mline 2\033[0m");
    check_unfinished("| a | b |\n|---|---|\n| 1 | 2 |\n", "");
    check_unfinished("一二三四五六七八九十", "一二三四五六七八九");
    check_unfinished("# Title", "");
    check_unfinished("# Title\n", "\033[1mTitle\033[0m");
}

/* ---- pieces ---- */

static void check_cut(const char *text, size_t len, bool gap, const char *carry)
{
    struct ah_markdown_cut cut = {0};
    assert_int_equal(ah_markdown_cut(text, strlen(text), 1024, &cut), len > 0);
    assert_int_equal(cut.len, len);
    assert_int_equal(cut.gap, gap);
    assert_string_equal(cut.carry, carry);
}

static void test_cuts(void **state)
{
    (void)state;
    check_cut("", 0, false, "");
    check_cut("para\n\n", 0, false, "");
    check_cut("para\n\nx", 6, true, "");
    check_cut("para\n \t\n\n x", 0, false, "");
    check_cut("- a\n\nx", 5, true, "");
    check_cut("- a\n\n-", 0, false, "");
    check_cut("- a\n- b", 4, false, "");
    check_cut("3. a\n4. b", 5, false, "");
    check_cut("1. a\n1. b", 0, false, "");
    check_cut("```\na\n\nb\n", 0, false, "");
    check_cut("```\na\n\nb\n```\n\nc", 14, true, "");
    char text[2048];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    check_cut(text, 1024, false, "");
    memcpy(text + 1022, "日", 3);
    check_cut(text, 1022, false, "");
    memcpy(text, "~~~~\n", 5);
    memcpy(text + 900, "\n", 1);
    check_cut(text, 901, false, "~~~~\n");
}

static void test_long_code_stays_code(void **state)
{
    (void)state;
    struct ah_buf in;
    struct ah_buf expected;
    ah_buf_init(&in, 0);
    ah_buf_init(&expected, 0);
    assert_int_equal(ah_buf_add_str(&in, "```\n"), 0);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(ah_buf_addf(&in, "*line* %d\n", i), 0);
        assert_int_equal(ah_buf_addf(&expected, "  *line* %d\n", i), 0);
    }
    assert_int_equal(ah_buf_add_str(&in, "```\n*end*\n"), 0);
    assert_int_equal(ah_buf_add_str(&expected, "end\n"), 0);
    struct ah_buf out = render(in.data, in.len, 80, false, false);
    assert_string_equal(ah_buf_str(&out), expected.data);
    ah_buf_clear(&in);
    ah_buf_clear(&expected);
    ah_buf_clear(&out);
}

/* ---- hostile input ---- */

/* No control but line breaks and what we write ourselves; and not too much of it. */
static struct ah_buf survive(const char *text, size_t len)
{
    struct ah_buf out = render(text, len, 40, false, false);
    for (size_t i = 0; i < out.len; i++) {
        unsigned char c = (unsigned char)out.data[i];
        assert_true(c >= 0x20 || c == '\n' || c == '\t');
        assert_int_not_equal(c, 0x7f);
    }
    assert_true(out.len <= 100 * (len + 100));
    struct ah_buf colour = render(text, len, 40, true, true);
    ah_buf_clear(&colour);
    return out;
}

static void survive_repeated(const char *unit, size_t count, const char *end)
{
    struct ah_buf in;
    ah_buf_init(&in, 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(ah_buf_add_str(&in, unit), 0);
    }
    assert_int_equal(ah_buf_add_str(&in, end), 0);
    struct ah_buf out = survive(in.data, in.len);
    if (end[0] != '\0' && strstr(ah_buf_str(&out), "END") == NULL) {
        fail_msg("the text behind %zu times '%s' is lost", count, unit);
    }
    ah_buf_clear(&in);
    ah_buf_clear(&out);
}

static void test_deep_nesting(void **state)
{
    (void)state;
    static const char *const units[] = {
        "> ",   ">",  "- ", "1. ",    "*",       "**a ",     "*a **b ", "_a ",
        "~~a ", "`",  "[",  "![",     "[a](",    "<",        "<a:",     "&#",
        "\\",   "|",  "|a", "#",      "- > 1. ", "***\n",    "\u0301",  "👩‍",
        "日",   "\t", "  ", "a\n=\n", "-\n",     "[a]: b\n", "|-|\n"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        survive_repeated(units[i], 10000, "");
        survive_repeated(units[i], 10000, "\n\nEND");
    }
    survive_repeated("> ", 10000, "END");
    survive_repeated("- ", 10000, "END");
    survive_repeated("*a **b ", 10000, "END");
    survive_repeated("[", 10000, "END");
}

static void test_lists_of_many_lines(void **state)
{
    (void)state;
    struct ah_buf in;
    ah_buf_init(&in, 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(ah_buf_addf(&in, "%*s- item%d\n", 2 * i, "", i), 0);
    }
    struct ah_buf out = survive(in.data, in.len);
    assert_non_null(strstr(out.data, "item299"));
    ah_buf_clear(&in);
    ah_buf_clear(&out);
}

static void test_table_of_many_columns(void **state)
{
    (void)state;
    struct ah_buf in;
    ah_buf_init(&in, 0);
    static const char *const cells[] = {"|h", "|---", "|c"};
    for (size_t row = 0; row < 3; row++) {
        for (int i = 0; i < 1000; i++) {
            assert_int_equal(ah_buf_add_str(&in, cells[row]), 0);
        }
        assert_int_equal(ah_buf_add_str(&in, "|\n"), 0);
    }
    struct ah_buf out = survive(in.data, in.len);
    assert_non_null(strstr(out.data, "|h|h|h")); /* shown as text */
    ah_buf_clear(&in);
    ah_buf_clear(&out);
}

static void test_no_control_gets_through(void **state)
{
    (void)state;
    static const char bad[] = "a\0b\033[31mc\033]0;t\007d &#27;[1m &#x9b;x &#0; &#7; &#x202e;\n"
                              "`\033[1m` [l\033c](u\033[2J&#27;x)\n\n```\n\033[1m\001e\002\n```\n"
                              "|\x01t|\n|---|\n\177\xc2\x9b"
                              "31m\r\b\n";
    struct ah_buf out = survive(bad, sizeof bad - 1);
    assert_null(strstr(out.data, "\xc2\x9b"));
    assert_null(strstr(out.data, "\u202e"));
    assert_non_null(strstr(out.data, "abcd [1m x"));
    ah_buf_clear(&out);
}

static void test_random_bytes(void **state)
{
    (void)state;
    static const char alphabet[] = "ab  \n\n\n*_`~[]()<>!#-+=|:.1\\&;\t\"\x80\xe6\x97\xa5\0\033";
    srand(1);
    char text[600];
    for (int round = 0; round < 3000; round++) {
        size_t len = (size_t)rand() % sizeof text;
        for (size_t i = 0; i < len; i++) {
            text[i] = alphabet[(size_t)rand() % (sizeof alphabet - 1)];
        }
        struct ah_buf out = survive(text, len);
        ah_buf_clear(&out);
    }
}

static void test_limits_of_the_output(void **state)
{
    (void)state;
    struct ah_markdown_options options = {.width = 40};
    struct ah_buf out;
    ah_buf_init(&out, 10);
    assert_int_equal(ah_markdown_render("some words here", 15, &options, &out), -EMSGSIZE);
    ah_buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_headings_and_rules),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_code),
        cmocka_unit_test(test_definitions_are_text),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_wide_characters_in_tables),
        cmocka_unit_test(test_narrow_tables_are_lists),
        cmocka_unit_test(test_what_is_no_table),
        cmocka_unit_test(test_wrapping),
        cmocka_unit_test(test_clusters),
        cmocka_unit_test(test_slow_texts),
        cmocka_unit_test(test_text_shows_early),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_long_code_stays_code),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_lists_of_many_lines),
        cmocka_unit_test(test_table_of_many_columns),
        cmocka_unit_test(test_no_control_gets_through),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_limits_of_the_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
