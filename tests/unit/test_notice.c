/* Notices: a flat record of named values. */
#include "core/notice.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_all_types(void **state)
{
    (void)state;
    struct ah_notice *notice = ah_notice_new();
    assert_non_null(notice);
    assert_int_equal(notice->seq, 0);
    char name[] = "text";
    char text[] = "a\0b";
    assert_int_equal(ah_notice_add_text(notice, name, text, 3), 0);
    memset(name, 'x', 4); /* all is copied */
    memset(text, 'x', 3);
    assert_int_equal(ah_notice_add_integer(notice, "integer", INT64_MIN), 0);
    assert_int_equal(ah_notice_add_number(notice, "number", 0.25), 0);
    assert_int_equal(ah_notice_add_flag(notice, "flag", true), 0);
    assert_int_equal(ah_notice_add_text(notice, "empty", "", 0), 0);
    assert_int_equal(ah_notice_add_text(notice, "none", NULL, 0), 0);
    assert_int_equal(notice->count, 5);
    const struct ah_field *f = notice->fields;
    assert_string_equal(f[0].name, "text");
    assert_int_equal(f[0].type, AH_FIELD_TEXT);
    assert_int_equal(f[0].as.text.len, 3);
    assert_memory_equal(f[0].as.text.data, "a\0b\0", 4);
    assert_int_equal(f[1].type, AH_FIELD_INTEGER);
    assert_true(f[1].as.integer == INT64_MIN);
    assert_int_equal(f[2].type, AH_FIELD_NUMBER);
    assert_true(f[2].as.number == 0.25);
    assert_int_equal(f[3].type, AH_FIELD_FLAG);
    assert_true(f[3].as.flag);
    assert_int_equal(f[4].as.text.len, 0);
    assert_string_equal(f[4].as.text.data, "");
    ah_notice_free(notice);
    ah_notice_free(NULL);
}

static void test_limit(void **state)
{
    (void)state;
    struct ah_notice *notice = ah_notice_new();
    assert_non_null(notice);
    for (int i = 0; i < AH_NOTICE_MAX_FIELDS; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(ah_notice_add_integer(notice, name, i), 0);
    }
    assert_int_equal(ah_notice_add_text(notice, "t", "x", 1), -E2BIG);
    assert_int_equal(ah_notice_add_integer(notice, "i", 1), -E2BIG);
    assert_int_equal(ah_notice_add_number(notice, "n", 1), -E2BIG);
    assert_int_equal(ah_notice_add_flag(notice, "f", true), -E2BIG);
    assert_int_equal(notice->count, AH_NOTICE_MAX_FIELDS);
    assert_string_equal(notice->fields[63].name, "n63");
    ah_notice_free(notice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_types),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
