/* Time: conversions at their edges. */
#include "core/clock.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND 1000000000LL

static void test_now_does_not_go_back(void **state)
{
    (void)state;
    int64_t last = ah_clock_now();
    for (int i = 0; i < 10000; i++) {
        int64_t now = ah_clock_now();
        assert_true(now >= last);
        last = now;
    }
    assert_true(ah_clock_wall() > 1.7e9); /* after 2023 */
}

static void test_from_seconds(void **state)
{
    (void)state;
    assert_int_equal(ah_clock_from_seconds(0), 0);
    assert_int_equal(ah_clock_from_seconds(-1), 0);
    assert_int_equal(ah_clock_from_seconds(-INFINITY), 0);
    assert_int_equal(ah_clock_from_seconds(NAN), 0);
    assert_int_equal(ah_clock_from_seconds(1.5), 3 * SECOND / 2);
    assert_int_equal(ah_clock_from_seconds(1e-9), 1);
    assert_int_equal(ah_clock_from_seconds(1e9), SECOND * SECOND);
    const double huge[] = {1e10, 1e18, 1e300, INFINITY};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        int64_t ns = ah_clock_from_seconds(huge[i]);
        assert_true(ns > 100LL * 365 * 86400 * SECOND);
        assert_true(ns <= INT64_MAX - ah_clock_now()); /* a deadline of now + ns fits */
    }
}

static void test_poll_timeout(void **state)
{
    (void)state;
    assert_int_equal(ah_clock_poll_timeout(AH_CLOCK_NEVER), -1);
    assert_int_equal(ah_clock_poll_timeout(0), 0);
    assert_int_equal(ah_clock_poll_timeout(ah_clock_now()), 0);
    int ms = ah_clock_poll_timeout(ah_clock_now() + 100 * SECOND);
    assert_true(ms > 0 && ms <= 100000);
    /* Rounded up: a wait must not end before its deadline and then spin. */
    int64_t deadline = ah_clock_now() + 300 * 1000;
    ms = ah_clock_poll_timeout(deadline);
    assert_true(ms == 1 || ah_clock_now() >= deadline);
    assert_int_equal(ah_clock_poll_timeout(ah_clock_now() + INT64_MAX / 2), INT_MAX);
    assert_int_equal(ah_clock_poll_timeout(AH_CLOCK_NEVER - 1), INT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now_does_not_go_back),
        cmocka_unit_test(test_from_seconds),
        cmocka_unit_test(test_poll_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
