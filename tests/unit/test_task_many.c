/* Many tasks: order, and that every end is told exactly once. */
#include "kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#define MANY 64

static void test_max_running_keeps_the_order(void **state)
{
    struct kit *kit = *state;
    enum { LIMIT = 3, COUNT = 30 };
    struct ah_task *tasks[COUNT];
    char log[200];
    char script[500];
    ah_runner_set_max_running(kit->runner, LIMIT);
    snprintf(log, sizeof log, "%s/log", kit->dir);
    for (int i = 0; i < COUNT; i++) {
        tasks[i] = child(kit, "say", "started", "pause");
    }
    for (int i = 0; i < COUNT; i++) {
        int last = i + LIMIT < COUNT ? i + LIMIT : COUNT;
        await(is_running(tasks[last - 1]));
        for (int j = 0; j < COUNT; j++) {
            enum ah_task_status status = state_of(tasks[j]).status;
            assert_int_equal(status, j < i      ? AH_TASK_KILLED
                                     : j < last ? AH_TASK_RUNNING
                                                : AH_TASK_QUEUED);
        }
        assert_true(ah_task_kill(tasks[i], 0, "test"));
        await_end(kit, tasks[i]);
        expect_notices(kit, 1);
    }
    for (int i = 0; i < COUNT; i++) {
        ah_task_unref(tasks[i]);
    }
    /* One at a time, each notes its number. */
    ah_runner_set_max_running(kit->runner, 0); /* counts as 1 */
    char wanted[200] = "";
    for (int i = 0; i < COUNT; i++) {
        snprintf(script, sizeof script, "echo %d >> '%s'", i, log);
        snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%d\n", i);
        tasks[i] = shell(kit, script);
    }
    for (int i = 0; i < COUNT; i++) {
        expect_end(kit, tasks[i], AH_TASK_COMPLETED, 0, 0);
        ah_task_unref(tasks[i]);
    }
    char text[500];
    read_some(log, text, sizeof text - 1);
    assert_string_equal(text, wanted);
}

/* The table keeps the youngest of those that have ended; who holds a reference keeps his. */
static void test_old_tasks_are_forgotten(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.queue = NULL;
    ah_runner_set_max_running(kit->runner, 1);
    struct ah_task *running = child_with(kit, options, "say", "ready", "pause");
    await_output(running, "ready");
    struct ah_task *first = child_with(kit, options, "pause");
    ah_task_kill(first, 0, "test");
    for (int i = 0; i < AH_TASKS_KEPT; i++) {
        struct ah_task *found = ah_runner_find(kit->runner, ah_task_id(first));
        assert_ptr_equal(found, first);
        ah_task_unref(found);
        struct ah_task *task = child_with(kit, options, "pause");
        assert_true(ah_task_kill(task, 0, "test"));
        ah_task_unref(task);
    }
    assert_null(ah_runner_find(kit->runner, ah_task_id(first)));
    assert_int_equal(state_of(first).status, AH_TASK_KILLED);
    ah_task_unref(first);
    struct ah_task **list = NULL;
    size_t count = 0;
    assert_int_equal(ah_runner_list(kit->runner, &list, &count), 0);
    assert_int_equal(count, AH_TASKS_KEPT + 1);
    assert_ptr_equal(list[0], running); /* the oldest of all, but it runs */
    for (size_t i = 0; i < count; i++) {
        ah_task_unref(list[i]);
    }
    free(list);
    ah_task_unref(running);
    struct ah_task *last = child_with(kit, options, "exit", "6"); /* the order is still found */
    ah_runner_set_max_running(kit->runner, 2);
    expect_end(kit, last, AH_TASK_FAILED, 6, 0);
    ah_task_unref(last);
}

/* Starts MANY tasks that end when let_go is called. */
static void start_many(struct kit *kit, struct ah_task **tasks, bool notify, char *fifo,
                       size_t size)
{
    struct ah_task_options options = default_options(kit);
    options.notify = notify;
    snprintf(fifo, size, "%s/fifo", kit->dir);
    assert_true(mkfifo(fifo, 0600) == 0 || errno == EEXIST);
    for (int i = 0; i < MANY; i++) {
        tasks[i] = child_with(kit, options, "say", "ready", "drain", fifo, "exit", "7");
    }
    for (int i = 0; i < MANY; i++) {
        await_output(tasks[i], "ready");
    }
}

/* All that have the fifo open see its end when the writer goes; again for the late ones. */
static bool let_go(const char *fifo, struct ah_task **tasks)
{
    int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    for (int i = 0; i < MANY; i++) {
        if (!state_of(tasks[i]).ended) {
            return false;
        }
    }
    return true;
}

/* B1: every end is told, once, however many come at the same time. */
static void test_ends_at_the_same_instant(void **state)
{
    struct kit *kit = *state;
    struct ah_task *tasks[MANY];
    char fifo[200];
    for (int round = 0; round < 6; round++) {
        start_many(kit, tasks, true, fifo, sizeof fifo);
        await(let_go(fifo, tasks));
        expect_notices(kit, MANY);
        for (int i = 0; i < MANY; i++) {
            expect_end(kit, tasks[i], AH_TASK_FAILED, 7, 0);
            ah_task_unref(tasks[i]);
        }
        assert_int_equal(ah_queue_count(kit->queue), 0);
    }
}

struct race {
    struct ah_task **tasks;
    int told; /* acknowledge said true */
    bool acknowledges;
};

static void *race_with_the_end(void *argument)
{
    struct race *race = argument;
    for (int i = 0; i < MANY; i++) {
        if (race->acknowledges) {
            while (!state_of(race->tasks[i]).ended) {
                if (ah_task_acknowledge(race->tasks[i])) {
                    race->told++;
                    break;
                }
            }
            race->told += ah_task_acknowledge(race->tasks[i]) ? 0x10000 : 0;
        } else {
            ah_task_set_notify(race->tasks[i], i % 2 == 0);
            ah_task_set_notify(race->tasks[i], true);
        }
    }
    return NULL;
}

/* Told by acknowledge or by notice: one of the two, never both, never none. */
static void test_acknowledge_and_notify_races(void **state)
{
    struct kit *kit = *state;
    struct ah_task *tasks[MANY];
    char fifo[200];
    for (int round = 0; round < 6; round++) {
        struct race race = {.tasks = tasks, .acknowledges = round % 2 == 0};
        start_many(kit, tasks, race.acknowledges, fifo, sizeof fifo);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, race_with_the_end, &race), 0);
        await(let_go(fifo, tasks));
        pthread_join(thread, NULL);
        if (race.acknowledges) {
            /* Nobody drained, so each could be acknowledged: all are in flight, none is pending. */
            expect_notices(kit, 0);
            assert_int_equal(acknowledge(kit, UINT64_MAX), MANY);
        } else {
            expect_notices(kit, MANY);
        }
        for (int i = 0; i < MANY; i++) {
            ah_task_set_notify(tasks[i], true); /* told already: not again */
            ah_task_unref(tasks[i]);
        }
        expect_notices(kit, 0);
    }
}

static void test_acknowledge_and_notify(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    struct ah_task *task = child(kit, "exit", "0");
    await_end(kit, task);
    assert_int_equal(ah_queue_count(kit->queue), 1);
    assert_true(ah_task_acknowledge(task));
    assert_true(ah_task_acknowledge(task)); /* still true: it has been told */
    expect_notices(kit, 0);
    assert_int_equal(ah_queue_requeue(kit->queue), 1); /* the message did not come to be */
    assert_int_equal(ah_queue_count(kit->queue), 1);
    assert_true(ah_task_acknowledge(task));
    ah_task_set_notify(task, true);
    expect_notices(kit, 0);
    assert_int_equal(acknowledge(kit, UINT64_MAX), 1);
    ah_task_unref(task);

    task = child(kit, "exit", "0"); /* its notice is on the way: too late */
    await_end(kit, task);
    const struct ah_notice *notice = NULL;
    assert_int_equal(ah_queue_drain(kit->queue, &notice, 1), 1);
    assert_false(ah_task_acknowledge(task));
    acknowledge(kit, notice->seq);
    assert_false(ah_task_acknowledge(task));
    ah_task_unref(task);

    options.notify = false;
    task = child_with(kit, options, "exit", "0");
    await_end(kit, task);
    expect_notices(kit, 0);
    ah_task_set_notify(task, true); /* turned on after the end: pushed at once */
    ah_task_set_notify(task, true);
    expect_notices(kit, 1);
    ah_task_unref(task);

    task = child_with(kit, options, "exit", "0");
    await_end(kit, task);
    assert_true(ah_task_acknowledge(task));
    ah_task_set_notify(task, true);
    expect_notices(kit, 0);
    ah_task_unref(task);

    options.notify = true;
    options.queue = NULL;
    task = child_with(kit, options, "exit", "0");
    await_end(kit, task);
    assert_true(ah_task_acknowledge(task));
    ah_task_unref(task);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        with_kit(test_max_running_keeps_the_order), with_kit(test_old_tasks_are_forgotten),
        with_kit(test_ends_at_the_same_instant),    with_kit(test_acknowledge_and_notify_races),
        with_kit(test_acknowledge_and_notify),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
