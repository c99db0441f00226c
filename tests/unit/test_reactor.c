/* The reactor: ids from threads, descriptors and signals come out of the one wait. */
#include "core/clock.h"
#include "core/http.h"
#include "core/reactor.h"
#include "core/signals.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define MS 1000000LL
#define PATIENCE (20000 * MS)
#define CAP (AH_REACTOR_MAX_WATCHES + 1)

struct kit {
    struct ah_reactor *reactor;
    uint64_t ids[CAP];
};

/* With http the reactor has its HTTP client, so that curl does the waiting. */
static int setup_with(void **state, bool http)
{
    struct kit *kit = calloc(1, sizeof *kit);
    struct ah_err err;
    assert_non_null(kit);
    assert_int_equal(ah_reactor_new(&kit->reactor, &err), 0);
    if (http) {
        struct ah_http *client = NULL;
        assert_int_equal(ah_reactor_http(kit->reactor, &client, &err), 0);
        struct ah_http *again = NULL;
        assert_int_equal(ah_reactor_http(kit->reactor, &again, &err), 0);
        assert_ptr_equal(client, again);
    }
    *state = kit;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, false);
}

static int setup_http(void **state)
{
    return setup_with(state, true);
}

static int teardown(void **state)
{
    struct kit *kit = *state;
    ah_reactor_free(kit->reactor);
    free(kit);
    return 0;
}

static int wait_ns(struct kit *kit, int64_t ns)
{
    bool all;
    int n = ah_reactor_wait(kit->reactor, ah_clock_now() + ns, kit->ids, CAP, &all);
    assert_true(n >= 0);
    assert_false(all);
    return n;
}

/* Waits until there is something; one wait may come back with nothing before its deadline. */
static int await(struct kit *kit)
{
    int64_t deadline = ah_clock_now() + PATIENCE;
    int n;
    while ((n = wait_ns(kit, 100 * MS)) == 0 && ah_clock_now() < deadline) {
    }
    return n;
}

static void test_deadline(void **state)
{
    struct kit *kit = *state;
    int64_t before = ah_clock_now();
    assert_int_equal(wait_ns(kit, -5 * MS), 0);
    int n = 0;
    while (n == 0 && ah_clock_now() < before + 30 * MS) {
        n = wait_ns(kit, before + 30 * MS - ah_clock_now());
    }
    assert_int_equal(n, 0);
}

static void *post_later(void *argument)
{
    struct kit *kit = argument;
    struct ah_wake *wake = ah_reactor_wake(kit->reactor);
    for (uint64_t i = 0; i < 1000; i++) {
        ah_wake_post(wake, 1000 + i);
    }
    return NULL;
}

static void test_woken_by_threads(void **state)
{
    struct kit *kit = *state;
    for (int round = 0; round < 20; round++) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, post_later, kit), 0);
        }
        bool seen[1000] = {false};
        int count = 0;
        while (count < 1000) {
            int n = await(kit);
            assert_true(n > 0);
            for (int i = 0; i < n; i++) {
                assert_in_range(kit->ids[i], 1000, 1999);
                count += seen[kit->ids[i] - 1000] ? 0 : 1;
                seen[kit->ids[i] - 1000] = true;
            }
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
        while (wait_ns(kit, 0) > 0) {
        }
    }
}

static void test_watch_a_pipe(void **state)
{
    struct kit *kit = *state;
    struct ah_err err;
    int ends[2];
    uint64_t id = 0;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(ah_reactor_watch(kit->reactor, ends[0], &id, &err), 0);
    assert_int_equal(wait_ns(kit, 0), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) { /* level-triggered */
        assert_int_equal(await(kit), 1);
        assert_int_equal(kit->ids[0], id);
    }
    char c;
    assert_int_equal(read(ends[0], &c, 1), 1);
    assert_int_equal(wait_ns(kit, 0), 0);
    close(ends[1]); /* hang-up without data */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(await(kit), 1);
        assert_int_equal(kit->ids[0], id);
    }
    ah_reactor_unwatch(kit->reactor, id);
    ah_reactor_unwatch(kit->reactor, id);
    assert_int_equal(wait_ns(kit, 0), 0);
    close(ends[0]);
}

static void test_many_watches(void **state)
{
    struct kit *kit = *state;
    struct ah_err err = {0};
    int ends[2];
    uint64_t ids[AH_REACTOR_MAX_WATCHES];
    uint64_t none = 77;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    for (int i = 0; i < AH_REACTOR_MAX_WATCHES; i++) {
        assert_int_equal(ah_reactor_watch(kit->reactor, ends[0], &ids[i], &err), 0);
    }
    assert_int_equal(ah_reactor_watch(kit->reactor, ends[0], &none, &err), -ENOSPC);
    assert_int_equal(none, 77);
    assert_int_equal(err.code, -ENOSPC);
    assert_int_equal(await(kit), AH_REACTOR_MAX_WATCHES);
    /* What does not fit beside them comes with a later wait. */
    struct ah_wake *wake = ah_reactor_wake(kit->reactor);
    uint64_t first = ah_wake_new_id(wake);
    uint64_t second = ah_wake_new_id(wake);
    ah_wake_post(wake, first);
    ah_wake_post(wake, second);
    assert_int_equal(await(kit), CAP);
    assert_int_equal(kit->ids[CAP - 1], first);
    assert_int_equal(await(kit), CAP);
    assert_int_equal(kit->ids[CAP - 1], second);
    for (int i = 0; i < AH_REACTOR_MAX_WATCHES; i++) {
        ah_reactor_unwatch(kit->reactor, ids[i]);
    }
    assert_int_equal(wait_ns(kit, 0), 0);
    close(ends[0]);
    close(ends[1]);
}

static void *raise_soon(void *argument)
{
    pthread_kill(*(pthread_t *)argument, SIGUSR1);
    return NULL;
}

static void test_signals(void **state)
{
    struct kit *kit = *state;
    assert_int_equal(ah_signals_catch(0, true), -EINVAL);
    assert_int_equal(ah_signals_catch(65, true), -EINVAL);
    assert_int_equal(ah_signals_catch(SIGKILL, true), -EINVAL);
    assert_int_equal(ah_signals_catch(SIGUSR1, true), 0);
    assert_int_equal(ah_signals_catch(SIGUSR2, true), 0);
    assert_true(ah_signals_fd() >= 0);
    assert_int_equal(wait_ns(kit, 0), 0);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR2);
    for (int i = 0; i < 3; i++) { /* ready until the last one is taken */
        assert_int_equal(await(kit), 1);
        assert_int_equal(kit->ids[0], ah_reactor_signal_id(kit->reactor));
    }
    assert_true(ah_signals_pending());
    assert_int_equal(ah_signals_take(), SIGUSR1);
    assert_int_equal(await(kit), 1);
    assert_int_equal(ah_signals_take(), SIGUSR2);
    assert_int_equal(ah_signals_take(), 0);
    assert_false(ah_signals_pending());
    assert_int_equal(wait_ns(kit, 0), 0);
    for (int i = 0; i < 20; i++) { /* while the wait sleeps */
        pthread_t self = pthread_self();
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, raise_soon, &self), 0);
        assert_int_equal(await(kit), 1);
        assert_int_equal(kit->ids[0], ah_reactor_signal_id(kit->reactor));
        assert_int_equal(ah_signals_take(), SIGUSR1);
        pthread_join(thread, NULL);
    }
    assert_int_equal(ah_signals_catch(SIGUSR1, false), 0);
    assert_int_equal(ah_signals_catch(SIGUSR2, false), 0);
    assert_int_equal(wait_ns(kit, 0), 0);
}

#define both(test)                                          \
    cmocka_unit_test_setup_teardown(test, setup, teardown), \
        cmocka_unit_test_setup_teardown(test, setup_http, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        both(test_deadline),     both(test_woken_by_threads), both(test_watch_a_pipe),
        both(test_many_watches), both(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
