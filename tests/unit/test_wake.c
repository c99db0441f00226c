/* The wake: ids posted by many threads come out, and the eventfd never says less than there is. */
#include "core/wake.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define THREADS 8
#define POSTS 20000
#define PATIENCE_MS 20000

static bool readable(struct ah_wake *wake, int timeout_ms)
{
    struct pollfd fd = {.fd = ah_wake_fd(wake), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

static struct ah_wake *new_wake(void)
{
    struct ah_wake *wake = NULL;
    assert_int_equal(ah_wake_new(&wake), 0);
    return wake;
}

static void test_post_and_take(void **state)
{
    (void)state;
    struct ah_wake *wake = new_wake();
    uint64_t ids[8];
    bool all = true;
    assert_false(readable(wake, 0));
    assert_int_equal(ah_wake_take(wake, ids, 8, &all), 0);
    assert_false(all);
    uint64_t a = ah_wake_new_id(wake);
    uint64_t b = ah_wake_new_id(wake);
    assert_true(a != 0 && b != 0 && a != b);
    ah_wake_post(wake, a);
    ah_wake_post(wake, b);
    ah_wake_post(wake, a); /* pending already */
    assert_true(readable(wake, 0));
    assert_int_equal(ah_wake_take(wake, ids, 8, &all), 2);
    assert_int_equal(ids[0], a);
    assert_int_equal(ids[1], b);
    assert_false(readable(wake, 0));
    ah_wake_post(wake, a); /* and again after it was taken */
    assert_int_equal(ah_wake_take(wake, ids, 8, &all), 1);
    ah_wake_free(wake);
    ah_wake_free(NULL);
}

static void test_what_does_not_fit_stays(void **state)
{
    (void)state;
    struct ah_wake *wake = new_wake();
    for (uint64_t id = 1; id <= 1000; id++) {
        ah_wake_post(wake, id);
    }
    uint64_t next = 1;
    while (readable(wake, 0)) {
        uint64_t ids[7];
        bool all;
        size_t n = ah_wake_take(wake, ids, 7, &all);
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(ids[i], next++);
        }
    }
    assert_int_equal(next, 1001);
    ah_wake_post(wake, 5);
    bool all;
    assert_int_equal(ah_wake_take(wake, NULL, 0, &all), 0);
    assert_true(readable(wake, 0)); /* taking none loses none */
    ah_wake_free(wake);
}

struct poster {
    struct ah_wake *wake;
    uint64_t ids[4];
};

static void *post_many(void *argument)
{
    struct poster *poster = argument;
    for (int i = 0; i < POSTS; i++) {
        ah_wake_post(poster->wake, poster->ids[i % 4]);
    }
    return NULL;
}

/* Each thread's ids have to be seen after its last post, whatever the timing. */
static void test_threads(void **state)
{
    (void)state;
    struct ah_wake *wake = new_wake();
    struct poster posters[THREADS];
    pthread_t threads[THREADS];
    bool seen[THREADS * 4 + 1] = {false};
    for (int i = 0; i < THREADS; i++) {
        posters[i].wake = wake;
        for (int j = 0; j < 4; j++) {
            posters[i].ids[j] = ah_wake_new_id(wake);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    }
    size_t count = 0;
    while (count < THREADS * 4) {
        assert_true(readable(wake, PATIENCE_MS));
        uint64_t ids[16];
        bool all;
        size_t n = ah_wake_take(wake, ids, 16, &all);
        assert_false(all);
        for (size_t i = 0; i < n; i++) {
            assert_in_range(ids[i], 1, THREADS * 4);
            count += seen[ids[i]] ? 0 : 1;
            seen[ids[i]] = true;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    while (readable(wake, 0)) {
        uint64_t ids[1000];
        bool all;
        ah_wake_take(wake, ids, 1000, &all);
    }
    uint64_t id;
    bool all;
    assert_int_equal(ah_wake_take(wake, &id, 1, &all), 0);
    ah_wake_free(wake);
}

static void *take_ids(void *argument)
{
    struct poster *poster = argument;
    uint64_t last = 0;
    for (int i = 0; i < POSTS; i++) {
        uint64_t id = ah_wake_new_id(poster->wake);
        if (id <= last) {
            return poster;
        }
        last = id;
    }
    return NULL;
}

static void test_ids_are_given_once(void **state)
{
    (void)state;
    struct poster poster = {.wake = new_wake()};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_ids, &poster), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(ah_wake_new_id(poster.wake), THREADS * POSTS + 1);
    ah_wake_free(poster.wake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post_and_take),
        cmocka_unit_test(test_what_does_not_fit_stays),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_ids_are_given_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
