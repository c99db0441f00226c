/* Bytes cut into keys: what is text, what is a key, and every way of cutting the stream. */
#include "core/buf.h"
#include "core/keys.h"
#include "core/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct ah_keys_chosen chosen = {.eof = 4, .erase = 0x7f};

/* Cuts from memory that ends where the bytes do, so that a sanitizer sees each step too far. */
static size_t cut(const char *bytes, size_t len, enum ah_key *ret_key)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    size_t used = ah_keys_cut(&chosen, copy, len, ret_key);
    free(copy);
    assert_true(used <= len);
    return used;
}

/* Text shows as it is, AH_KEY_NONE as <>, another key as <its number>. The bytes come in pieces of
 * `piece`; at the end *ret_left of them are half a key. */
static void type(const char *bytes, size_t len, size_t piece, struct ah_buf *out, size_t *ret_left)
{
    size_t at = 0;
    for (size_t end = 0; end < len;) {
        end = len - end < piece ? len : end + piece;
        enum ah_key key;
        size_t used;
        while ((used = cut(bytes + at, end - at, &key)) > 0) {
            if (key == AH_KEY_TEXT) {
                ah_buf_add(out, bytes + at, used);
            } else if (key == AH_KEY_NONE) {
                ah_buf_add_str(out, "<>");
            } else {
                ah_buf_addf(out, "<%d>", (int)key);
            }
            at += used;
        }
    }
    *ret_left = len - at;
}

/* However the bytes come, they have to be `wanted` and leave `left` bytes. */
#define check(bytes, wanted, left) check_bytes(bytes, sizeof(bytes) - 1, wanted, left)
static void check_bytes(const char *bytes, size_t len, const char *wanted, size_t left)
{
    for (size_t piece = 1; piece <= len; piece++) {
        struct ah_buf out;
        size_t ret_left;
        ah_buf_init(&out, 0);
        type(bytes, len, piece, &out, &ret_left);
        assert_string_equal(ah_buf_str(&out), wanted);
        assert_int_equal(ret_left, left);
        ah_buf_clear(&out);
    }
}

static enum ah_key key_of(const char *bytes)
{
    enum ah_key key = AH_KEY_COUNT;
    assert_int_equal(cut(bytes, strlen(bytes), &key), strlen(bytes));
    return key;
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum ah_key key;
    } cases[] = {
        {"\r", AH_KEY_ENTER},
        {"\n", AH_KEY_ENTER},
        {"\1", AH_KEY_BEGIN},
        {"\x19", AH_KEY_YANK},
        {"\x1b[A", AH_KEY_OLDER},
        {"\x1bOB", AH_KEY_NEWER},
        {"\x1b[3~", AH_KEY_DELETE},
        {"\x1b[3;5~", AH_KEY_DELETE_WORD},
        {"\x1b[1;5C", AH_KEY_WORD_RIGHT},
        {"\x1b\x7f", AH_KEY_ERASE_WORD},
        {"\x1b"
         "b",
         AH_KEY_WORD_LEFT},
        {"\x12", AH_KEY_SEARCH_OLDER},
        {"\x16", AH_KEY_NONE},
        {"\x1bx", AH_KEY_NONE},
        {"\x1b[I", AH_KEY_NONE},
        {"\x1b[[A", AH_KEY_NONE},
        {"\x1b[15~", AH_KEY_NONE},
        {"\x1b\xc3\xa4", AH_KEY_NONE},
        {"\xc2\x9b", AH_KEY_NONE},
        {"\t", AH_KEY_TAB},
        {"\x1b[200~", AH_KEY_PASTE},
        {"\x04", AH_KEY_EOF},
        {"\x7f", AH_KEY_ERASE},
        {"\x08", AH_KEY_ERASE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(key_of(cases[i].bytes), cases[i].key);
    }
    enum ah_key key;
    assert_int_equal(cut("\0", 1, &key), 1);
    assert_int_equal(key, AH_KEY_NONE);
    assert_int_equal(cut("", 0, &key), 0);
}

static void test_chosen(void **state)
{
    (void)state;
    enum ah_key key;
    const struct ah_keys_chosen none = {0};
    assert_int_equal(ah_keys_cut(&none, "\4", 1, &key), 1);
    assert_int_equal(key, AH_KEY_NONE);
    assert_int_equal(ah_keys_cut(&none, "\0", 1, &key), 1);
    assert_int_equal(key, AH_KEY_NONE);
    const struct ah_keys_chosen other = {.eof = 26, .erase = 23};
    assert_int_equal(ah_keys_cut(&other, "\27", 1, &key), 1);
    assert_int_equal(key, AH_KEY_ERASE); /* not the word */
    assert_int_equal(ah_keys_cut(&other, "\32", 1, &key), 1);
    assert_int_equal(key, AH_KEY_EOF);
}

static void test_split_anywhere(void **state)
{
    (void)state;
    char wanted[128];
    snprintf(wanted, sizeof wanted, "h\u00e9\u65e5<%d>\U0001f600<%d><27>x<%d>", AH_KEY_LEFT,
             AH_KEY_DELETE_WORD, AH_KEY_ENTER);
    check("h\u00e9\u65e5\x1b[D\U0001f600\x1b[3;5~\x1b[200~x\r", wanted, 0);
    snprintf(wanted, sizeof wanted, "a<><%d>b", AH_KEY_OLDER);
    check("a\x1b\x1b[Ab", wanted, 0); /* Alt and an arrow: one ESC more */
}

static void test_half_keys(void **state)
{
    (void)state;
    check("a\x1b", "a", 1);
    check("a\x1b[", "a", 2);
    check("a\x1b[1;", "a", 4);
    check("a\x1b[[", "a", 3);
    check("a\x1bO", "a", 2);
    check("a\xf0\x9f\x98", "a", 3);
    check("\x1b\xe6\x97", "", 3);
}

static void test_invalid_utf8(void **state)
{
    (void)state;
    /* It is text: what it stands for is seen to where it is put in. */
    check("a\xff\xfez", "a\xff\xfez", 0);
    check("a\xc3z", "a\xc3z", 0);
    check("\xe6\x97\r", "\xe6\x97<3>", 0);
    check("\xed\xa0\x80\xf5\x80\xc0\x80", "\xed\xa0\x80\xf5\x80\xc0\x80", 0);
    assert_int_equal(AH_KEY_ENTER, 3);
}

static void test_bounds(void **state)
{
    (void)state;
    /* An escape sequence without an end takes 32 bytes, and what follows is text again. */
    check("\x1b[1111111111111111111111111111111111x", "<>1111x", 0);
    check("\x1b[12\rx", "<><3>x", 0); /* broken off by a control character */
    check("\x1b[12\xc3\xa4", "<>\xc3\xa4", 0);
    size_t len = 100000;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, 'x', len);
    enum ah_key key;
    assert_int_equal(cut(text, len, &key), len);
    assert_int_equal(key, AH_KEY_TEXT);
    free(text);
}

/* Every character there and back; every other code and byte is refused. */
static void test_utf8(void **state)
{
    (void)state;
    char bytes[AH_UTF8_MAX];
    uint32_t c;
    for (uint32_t i = 0; i <= 0x10ffff; i++) {
        size_t len = ah_utf8_encode(i, bytes);
        bool surrogate = i >= 0xd800 && i <= 0xdfff;
        assert_int_equal(ah_utf8_decode(bytes, len, &c), surrogate ? 1 : len);
        assert_int_equal(c, surrogate ? AH_UTF8_INVALID : i);
        if (len > 1 && !surrogate) {
            assert_int_equal(ah_utf8_decode(bytes, len - 1, &c), 0);
        }
    }
    static const char *const invalid[] = {
        "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5", "\xff",     "\xe6\x97x"};
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        assert_int_equal(ah_utf8_decode(invalid[i], strlen(invalid[i]), &c), 1);
        assert_int_equal(c, AH_UTF8_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),           cmocka_unit_test(test_chosen),
        cmocka_unit_test(test_split_anywhere), cmocka_unit_test(test_half_keys),
        cmocka_unit_test(test_invalid_utf8),   cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
