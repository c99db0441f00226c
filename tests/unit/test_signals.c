/* Signals as events, and what is put back when one is no longer caught. */
#include "core/signals.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void someone_else(int signal)
{
    (void)signal;
}

static void (*handler_of(int signal))(int)
{
    struct sigaction now;
    assert_int_equal(sigaction(signal, NULL, &now), 0);
    return now.sa_handler;
}

static void test_note(void **state)
{
    (void)state;
    assert_int_equal(ah_signals_take(), 0);
    assert_int_equal(ah_signals_catch(SIGUSR1, true), 0);
    struct pollfd fd = {.fd = ah_signals_fd(), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(poll(&fd, 1, 0), 1);
    assert_true(ah_signals_pending());
    assert_int_equal(ah_signals_take(), SIGUSR1);
    assert_int_equal(ah_signals_take(), 0);
    assert_int_equal(ah_signals_catch(SIGUSR1, false), 0);
    assert_true(handler_of(SIGUSR1) == SIG_DFL);
}

static void test_puts_back(void **state)
{
    (void)state;
    struct sigaction other = {.sa_handler = someone_else, .sa_flags = (int)SA_RESETHAND};
    assert_int_equal(sigaction(SIGTERM, &other, NULL), 0);
    assert_int_equal(ah_signals_catch(SIGTERM, false), 0); /* not caught: nothing to put back */
    assert_true(handler_of(SIGTERM) == someone_else);
    assert_int_equal(ah_signals_catch(SIGTERM, true), 0);
    assert_int_equal(ah_signals_catch(SIGTERM, true), 0); /* twice is once */
    assert_true(handler_of(SIGTERM) != someone_else);
    assert_int_equal(ah_signals_catch(SIGTERM, false), 0);
    struct sigaction now;
    assert_int_equal(sigaction(SIGTERM, NULL, &now), 0);
    assert_true(now.sa_handler == someone_else);
    assert_true(((unsigned)now.sa_flags & (unsigned)SA_RESETHAND) != 0);
}

static void test_refuses(void **state)
{
    (void)state;
    assert_int_equal(ah_signals_catch(0, true), -EINVAL);
    assert_int_equal(ah_signals_catch(65, true), -EINVAL);
    assert_int_equal(ah_signals_catch(SIGKILL, true), -EINVAL);
    assert_int_equal(ah_signals_catch(SIGKILL, true), -EINVAL); /* nor is it taken for caught */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_note),
        cmocka_unit_test(test_puts_back),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
