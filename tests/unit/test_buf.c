/* The byte buffer: growing, the limit, the NUL behind the bytes. */
#include "core/buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_empty(void **state)
{
    (void)state;
    struct ah_buf buf;
    ah_buf_init(&buf, 0);
    assert_string_equal(ah_buf_str(&buf), "");
    ah_buf_consume(&buf, 10);
    assert_int_equal(buf.len, 0);
    assert_int_equal(ah_buf_add(&buf, NULL, 0), 0);
    assert_non_null(buf.data);
    assert_string_equal(ah_buf_str(&buf), "");
    ah_buf_clear(&buf);
    ah_buf_clear(&buf);
    assert_null(buf.data);
}

static void test_grows_and_keeps_a_nul_behind(void **state)
{
    (void)state;
    struct ah_buf buf;
    ah_buf_init(&buf, 0);
    for (size_t i = 0; i < 5000; i++) {
        char c = (char)i;
        assert_int_equal(ah_buf_add(&buf, &c, 1), 0);
        assert_int_equal(buf.len, i + 1);
        assert_int_equal(buf.data[buf.len], '\0');
        assert_true(buf.cap >= buf.len);
    }
    for (size_t i = 0; i < 5000; i++) {
        assert_int_equal(buf.data[i], (char)i);
    }
    ah_buf_clear(&buf);
}

static void test_limit_adds_nothing(void **state)
{
    (void)state;
    struct ah_buf buf;
    ah_buf_init(&buf, 10);
    assert_int_equal(ah_buf_add_str(&buf, "123456"), 0);
    assert_int_equal(ah_buf_add_str(&buf, "12345"), -EMSGSIZE);
    assert_int_equal(ah_buf_addf(&buf, "%05d", 7), -EMSGSIZE);
    assert_int_equal(ah_buf_reserve(&buf, 5), -EMSGSIZE);
    assert_string_equal(ah_buf_str(&buf), "123456");
    assert_int_equal(ah_buf_addf(&buf, "%04d", 7), 0);
    assert_string_equal(ah_buf_str(&buf), "1234560007");
    assert_int_equal(ah_buf_add(&buf, "x", 1), -EMSGSIZE);
    assert_int_equal(ah_buf_add(&buf, "", 0), 0);
    ah_buf_clear(&buf);
    assert_int_equal(buf.max, 10);
}

static void test_impossible_sizes(void **state)
{
    (void)state;
    struct ah_buf buf;
    ah_buf_init(&buf, 0);
    assert_int_equal(ah_buf_add_str(&buf, "abc"), 0);
    assert_int_equal(ah_buf_reserve(&buf, SIZE_MAX), -ENOMEM);
    assert_int_equal(ah_buf_reserve(&buf, SIZE_MAX / 2), -ENOMEM);
    assert_string_equal(ah_buf_str(&buf), "abc");
    ah_buf_clear(&buf);
}

static void test_reserve_does_not_add(void **state)
{
    (void)state;
    struct ah_buf buf;
    ah_buf_init(&buf, 0);
    assert_int_equal(ah_buf_reserve(&buf, 1000), 0);
    assert_int_equal(buf.len, 0);
    const char *data = buf.data;
    memset(buf.data, 'x', 1000);
    buf.len = 1000;
    assert_int_equal(ah_buf_reserve(&buf, 0), 0);
    assert_ptr_equal(buf.data, data);
    ah_buf_clear(&buf);
}

static void test_format(void **state)
{
    (void)state;
    struct ah_buf buf;
    ah_buf_init(&buf, 0);
    assert_int_equal(ah_buf_addf(&buf, "%s", ""), 0);
    assert_int_equal(ah_buf_addf(&buf, "%0500d|%s", 1, "end"), 0);
    assert_int_equal(buf.len, 504);
    assert_string_equal(buf.data + 499, "1|end");
    ah_buf_clear(&buf);
}

static void test_consume(void **state)
{
    (void)state;
    struct ah_buf buf;
    ah_buf_init(&buf, 0);
    ah_buf_add_str(&buf, "hello world");
    ah_buf_consume(&buf, 0);
    ah_buf_consume(&buf, 6);
    assert_string_equal(ah_buf_str(&buf), "world");
    ah_buf_consume(&buf, 5);
    assert_int_equal(buf.len, 0);
    assert_string_equal(ah_buf_str(&buf), "");
    ah_buf_add_str(&buf, "again");
    ah_buf_consume(&buf, SIZE_MAX);
    assert_string_equal(ah_buf_str(&buf), "");
    ah_buf_clear(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_grows_and_keeps_a_nul_behind),
        cmocka_unit_test(test_limit_adds_nothing),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_reserve_does_not_add),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_consume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
