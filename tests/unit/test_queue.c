/* The notification queue: nothing lost, nothing twice, in order. */
#include "core/queue.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define THREADS 8
#define PUSHES 5000
#define PATIENCE_MS 20000

struct kit {
    struct ah_wake *wake;
    struct ah_queue *queue;
};

static int setup(void **state)
{
    struct kit *kit = calloc(1, sizeof *kit);
    assert_non_null(kit);
    assert_int_equal(ah_wake_new(&kit->wake), 0);
    assert_int_equal(ah_queue_new(kit->wake, &kit->queue), 0);
    *state = kit;
    return 0;
}

static int teardown(void **state)
{
    struct kit *kit = *state;
    ah_queue_unref(kit->queue);
    ah_wake_free(kit->wake);
    free(kit);
    return 0;
}

static struct ah_notice *new_notice(int64_t thread, int64_t value)
{
    struct ah_notice *notice = ah_notice_new();
    assert_non_null(notice);
    assert_int_equal(ah_notice_add_integer(notice, "thread", thread), 0);
    assert_int_equal(ah_notice_add_integer(notice, "value", value), 0);
    return notice;
}

static void push(struct kit *kit, int count)
{
    for (int i = 0; i < count; i++) {
        ah_queue_push(kit->queue, new_notice(0, i));
    }
}

/* Drains up to cap and compares with the sequence numbers from `first` on. */
static void drain(struct kit *kit, size_t cap, uint64_t first, size_t count)
{
    const struct ah_notice *notices[64];
    assert_int_equal(ah_queue_drain(kit->queue, notices, cap), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(notices[i]->seq, first + i);
    }
}

/* Acknowledges and frees; how many there were, oldest first. */
static size_t acknowledge(struct kit *kit, uint64_t seq)
{
    size_t count = 0;
    uint64_t last = 0;
    for (struct ah_notice *notice = ah_queue_ack(kit->queue, seq); notice != NULL; count++) {
        struct ah_notice *next = notice->next;
        assert_true(notice->seq <= seq && notice->seq > last);
        last = notice->seq;
        ah_notice_free(notice);
        notice = next;
    }
    return count;
}

static void test_push_posts_and_counts(void **state)
{
    struct kit *kit = *state;
    assert_int_equal(ah_queue_count(kit->queue), 0);
    drain(kit, 64, 0, 0);
    assert_int_equal(ah_queue_push(kit->queue, new_notice(0, 0)), 1);
    assert_int_equal(ah_queue_push(kit->queue, new_notice(0, 0)), 2);
    assert_int_equal(ah_queue_count(kit->queue), 2);
    uint64_t ids[4];
    bool all;
    assert_int_equal(ah_wake_take(kit->wake, ids, 4, &all), 1);
    assert_int_equal(ids[0], ah_queue_id(kit->queue));
}

static void test_acknowledge(void **state)
{
    struct kit *kit = *state;
    push(kit, 5);
    assert_int_equal(acknowledge(kit, 5), 0); /* nothing is in flight */
    drain(kit, 3, 1, 3);
    assert_int_equal(ah_queue_count(kit->queue), 2);
    assert_int_equal(acknowledge(kit, 0), 0);
    assert_int_equal(acknowledge(kit, 2), 2);
    assert_int_equal(acknowledge(kit, 2), 0);
    assert_int_equal(acknowledge(kit, UINT64_MAX), 1); /* pending ones stay */
    drain(kit, 64, 4, 2);
    assert_int_equal(acknowledge(kit, 5), 2);
    assert_int_equal(ah_queue_push(kit->queue, new_notice(0, 0)), 6);
}

static void test_in_flight(void **state)
{
    struct kit *kit = *state;
    const struct ah_notice *notices[4];
    assert_int_equal(ah_queue_in_flight(kit->queue, 0, notices, 4), 0);
    push(kit, 5);
    assert_int_equal(ah_queue_in_flight(kit->queue, 0, notices, 4), 0);
    drain(kit, 2, 1, 2);
    assert_true(ah_queue_withdraw(kit->queue, 4));
    assert_int_equal(ah_queue_in_flight(kit->queue, 0, notices, 2), 2);
    assert_int_equal(notices[1]->seq, 2);
    assert_int_equal(ah_queue_in_flight(kit->queue, 2, notices, 4), 1);
    assert_int_equal(notices[0]->seq, 4);
    assert_int_equal(acknowledge(kit, 5), 3);
    assert_int_equal(ah_queue_in_flight(kit->queue, 0, notices, 4), 0);
}

static void test_requeue_keeps_the_order(void **state)
{
    struct kit *kit = *state;
    assert_int_equal(ah_queue_requeue(kit->queue), 0);
    push(kit, 4);
    drain(kit, 2, 1, 2);
    drain(kit, 1, 3, 1);
    push(kit, 2);
    uint64_t id;
    bool all;
    ah_wake_take(kit->wake, &id, 1, &all);
    assert_int_equal(ah_queue_requeue(kit->queue), 3);
    assert_int_equal(ah_wake_take(kit->wake, &id, 1, &all), 1); /* tells of it */
    assert_int_equal(ah_queue_count(kit->queue), 6);
    drain(kit, 64, 1, 6);
    assert_int_equal(ah_queue_requeue(kit->queue), 6); /* with nothing pending */
    push(kit, 1);                                      /* goes behind them */
    drain(kit, 64, 1, 7);
    assert_int_equal(acknowledge(kit, 7), 7);
    push(kit, 1);
    drain(kit, 64, 8, 1);
}

static void test_withdraw(void **state)
{
    struct kit *kit = *state;
    push(kit, 5);
    assert_false(ah_queue_withdraw(kit->queue, 0));
    assert_false(ah_queue_withdraw(kit->queue, 6));
    assert_true(ah_queue_withdraw(kit->queue, 5)); /* the last: a push still finds the end */
    assert_false(ah_queue_withdraw(kit->queue, 5));
    push(kit, 1);
    assert_true(ah_queue_withdraw(kit->queue, 1)); /* the first */
    assert_true(ah_queue_withdraw(kit->queue, 3)); /* one between */
    assert_int_equal(ah_queue_count(kit->queue), 3);
    const struct ah_notice *notices[8];
    assert_int_equal(ah_queue_drain(kit->queue, notices, 8), 3);
    assert_int_equal(notices[0]->seq, 2);
    assert_int_equal(notices[1]->seq, 4);
    assert_int_equal(notices[2]->seq, 6);
    assert_false(ah_queue_withdraw(kit->queue, 4)); /* in flight */
    push(kit, 1);
    assert_true(ah_queue_withdraw(kit->queue, 7)); /* the only one */
    push(kit, 1);
    assert_int_equal(ah_queue_requeue(kit->queue), 7); /* the withdrawn ones, too */
    assert_int_equal(ah_queue_count(kit->queue), 8);
    assert_true(ah_queue_withdraw(kit->queue, 4));
    assert_int_equal(ah_queue_count(kit->queue), 7);
    assert_int_equal(acknowledge(kit, 8), 1);
    assert_false(ah_queue_withdraw(kit->queue, 4)); /* acknowledged */
}

/* What is withdrawn is acknowledged with what was drained, up to the same number. */
static void test_withdrawn_is_in_flight(void **state)
{
    struct kit *kit = *state;
    push(kit, 4);
    assert_true(ah_queue_withdraw(kit->queue, 3));
    drain(kit, 1, 1, 1);
    assert_int_equal(acknowledge(kit, 2), 1);
    assert_int_equal(acknowledge(kit, 3), 1);
    drain(kit, 1, 2, 1);
    assert_true(ah_queue_withdraw(kit->queue, 4));
    assert_int_equal(ah_queue_count(kit->queue), 0);
    assert_int_equal(acknowledge(kit, UINT64_MAX), 2);
}

/* However they got into flight, putting them back restores their order: a message tells ends in the
 * order in which they came. */
static void test_requeue_after_withdraw(void **state)
{
    struct kit *kit = *state;
    push(kit, 4);
    assert_true(ah_queue_withdraw(kit->queue, 3));
    drain(kit, 1, 1, 1);
    assert_int_equal(ah_queue_requeue(kit->queue), 2);
    drain(kit, 64, 1, 4);
}

static void test_references(void **state)
{
    struct kit *kit = *state;
    push(kit, 3);
    const struct ah_notice *notice;
    assert_int_equal(ah_queue_drain(kit->queue, &notice, 1), 1);
    assert_ptr_equal(ah_queue_ref(kit->queue), kit->queue);
    ah_queue_unref(kit->queue);
    assert_int_equal(ah_queue_count(kit->queue), 2);
    ah_queue_unref(NULL);
    /* teardown drops the last reference with notices pending and in flight */
}

struct pusher {
    struct ah_queue *queue;
    int number;
};

static void *push_many(void *argument)
{
    struct pusher *pusher = argument;
    for (int i = 0; i < PUSHES; i++) {
        ah_queue_push(pusher->queue, new_notice(pusher->number, i));
    }
    ah_queue_unref(pusher->queue);
    return NULL;
}

/* 8 threads push, this one drains, puts back, and acknowledges: all once, each thread's in order.
 */
static void test_threads(void **state)
{
    struct kit *kit = *state;
    struct pusher pushers[THREADS];
    pthread_t threads[THREADS];
    int64_t next[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        pushers[i] = (struct pusher){.queue = ah_queue_ref(kit->queue), .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, &pushers[i]), 0);
    }
    uint64_t last = 0;
    for (unsigned round = 0; last < (uint64_t)THREADS * PUSHES; round++) {
        struct pollfd fd = {.fd = ah_wake_fd(kit->wake), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
        uint64_t ids[16];
        bool all;
        ah_wake_take(kit->wake, ids, 16, &all);
        const struct ah_notice *notices[256];
        size_t n;
        while ((n = ah_queue_drain(kit->queue, notices, 256)) > 0) {
            if (round++ % 3 == 0) {
                assert_int_equal(ah_queue_requeue(kit->queue), n);
                continue;
            }
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(notices[i]->seq, ++last);
                int64_t thread = notices[i]->fields[0].as.integer;
                assert_int_equal(notices[i]->fields[1].as.integer, next[thread]++);
            }
            assert_int_equal(acknowledge(kit, last), n);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(next[i], PUSHES);
    }
    assert_int_equal(ah_queue_count(kit->queue), 0);
}

static void *withdraw_all(void *argument)
{
    struct kit *kit = argument;
    size_t withdrawn = 0;
    for (uint64_t seq = 1; seq <= PUSHES; seq++) {
        withdrawn += ah_queue_withdraw(kit->queue, seq) ? 1 : 0;
    }
    return (void *)withdrawn;
}

/* A notice is either withdrawn or drained, never both and never neither. */
static void test_withdraw_against_drain(void **state)
{
    struct kit *kit = *state;
    push(kit, PUSHES);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, withdraw_all, kit), 0);
    size_t drained = 0;
    const struct ah_notice *notices[16];
    size_t n;
    while ((n = ah_queue_drain(kit->queue, notices, 16)) > 0) {
        drained += n;
    }
    void *withdrawn = NULL;
    pthread_join(thread, &withdrawn);
    assert_int_equal(drained + (size_t)withdrawn, PUSHES);
    size_t count = 0;
    for (struct ah_notice *notice = ah_queue_ack(kit->queue, UINT64_MAX); notice != NULL; count++) {
        struct ah_notice *next = notice->next;
        ah_notice_free(notice);
        notice = next;
    }
    assert_int_equal(count, PUSHES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_push_posts_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acknowledge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requeue_keeps_the_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_withdraw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_withdrawn_is_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requeue_after_withdraw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_references, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_withdraw_against_drain, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
