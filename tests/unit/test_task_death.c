/* Supervisor or host die, or the runner is freed: nothing is left behind. */
#include "kit.h"

#include <signal.h>
#include <sys/wait.h>
#define MANY 64

static void test_supervisor_dies(void **state)
{
    struct kit *kit = *state;
    struct ah_task *tasks[3];
    ah_runner_set_max_running(kit->runner, 3);
    tasks[0] = child(kit, "ignore", "say", "ready", "pause");
    tasks[1] = child(kit, "ignore", "fork", "say", "ready", "pause");
    tasks[2] = child(kit, "ignore", "escape", "say", "ready", "pause");
    struct ah_task *queued = child(kit, "exit", "3");
    for (int i = 0; i < 3; i++) {
        await_output(tasks[i], "ready");
    }
    assert_int_equal(count_alive(kit->run), 5);
    kill_supervisor();
    for (int i = 0; i < 3; i++) {
        expect_end(kit, tasks[i], AH_TASK_LOST, -1, 0);
        assert_non_null(strstr(state_of(tasks[i]).reason, "supervisor"));
        ah_task_unref(tasks[i]);
    }
    expect_end(kit, queued, AH_TASK_FAILED, 3, 0); /* by the next supervisor */
    ah_task_unref(queued);
    expect_notices(kit, 4);
    await(count_alive(kit->run) == 0);
}

/* Also when no other task comes that would start another supervisor. */
static void test_supervisor_dies_last(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "ignore", "fork", "escape", "say", "ready", "pause");
    await_output(task, "ready");
    kill_supervisor();
    expect_end(kit, task, AH_TASK_LOST, -1, 0);
    ah_task_unref(task);
    await(count_alive(kit->run) == 0);
}

static void test_supervisor_dies_at_the_end(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "ignore", "fork", "escape", "say", "ready", "pause");
    await_output(task, "ready");
    kill_supervisor();
    ah_task_unref(task);
    /* teardown frees the runner at once and then looks for what is left */
}

static void test_supervisor_dies_too_often(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task;
    for (int i = 0; i < 5; i++) {
        task = child(kit, "fork", "say", "ready", "pause");
        await_output(task, "ready");
        kill_supervisor();
        expect_end(kit, task, AH_TASK_LOST, -1, 0);
        expect_notices(kit, 1);
        ah_task_unref(task);
    }
    expect_error(kit, child(kit, "exit", "0"), "died 5 times");
}

static void test_supervisor_is_missing(void **state)
{
    struct kit *kit = *state;
    free_runner(kit);
    new_runner(kit, "/ah-no/such/supervisor");
    expect_error(kit, child(kit, "exit", "0"),
                 "cannot start the supervisor /ah-no/such/supervisor: No such file");
    expect_error(kit, child(kit, "exit", "0"), "cannot start the supervisor");
}

static void test_supervisor_hangs(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "fork", "say", "ready", "pause");
    await_output(task, "ready");
    assert_int_equal(kill(find_supervisor(), SIGSTOP), 0);
    /* More orders than the socket holds, so that sending one would block. */
    ah_runner_set_max_running(kit->runner, 2000);
    struct ah_task *last = NULL;
    for (int i = 0; i < 2000; i++) {
        ah_task_unref(last);
        last = child(kit, "exit", "0");
    }
    ah_task_kill(task, 0, "test");
    assert_false(state_of(last).ended); /* asking does not block */
    ah_task_unref(last);
    ah_task_unref(task);
    /* teardown frees the runner, which has to come back all the same */
}

static void test_free_ends_everything(void **state)
{
    struct kit *kit = *state;
    struct ah_task *tasks[8];
    ah_runner_set_max_running(kit->runner, 7);
    tasks[0] = child(kit, "say", "ready", "pause");
    tasks[1] = child(kit, "ignore", "say", "ready", "pause");
    tasks[2] = child(kit, "fork", "escape", "say", "ready", "pause");
    tasks[3] = child(kit, "ignore", "fork", "escape", "say", "ready", "pause");
    tasks[4] = shell(kit, "setsid " SH_CHILD " pause & sleep 1000 & echo ready");
    tasks[5] = child(kit, "ignore", "fork", "escape", "exit", "0");
    tasks[6] = child(kit, "ignore", "say", "ready", "pause");
    tasks[7] = child(kit, "say", "ready", "pause"); /* may stay queued */
    expect_end(kit, tasks[4], AH_TASK_COMPLETED, 0, 0);
    expect_end(kit, tasks[5], AH_TASK_COMPLETED, 0, 0);
    for (int i = 0; i < 8; i++) {
        await(strstr(output_of(tasks[i]), "ready") != NULL || i == 5);
        ah_task_unref(tasks[i]);
    }
    assert_true(count_alive(kit->run) >= 10);
    int64_t before = ah_clock_now();
    free_runner(kit);
    assert_true(ah_clock_now() - before < 15 * SECOND);
    assert_int_equal(count_alive(kit->run), 0);
}

static void test_free_ends_many(void **state)
{
    struct kit *kit = *state;
    struct ah_task *tasks[MANY];
    for (int i = 0; i < MANY; i++) {
        tasks[i] = child(kit, "ignore", "fork", "escape", "say", "ready", "pause");
    }
    for (int i = 0; i < MANY; i++) {
        await_output(tasks[i], "ready");
        ah_task_unref(tasks[i]);
    }
    assert_int_equal(count_alive(kit->run), 3 * MANY);
    free_runner(kit);
    assert_int_equal(count_alive(kit->run), 0);
}

static void test_free_without_tasks(void **state)
{
    struct kit *kit = *state;
    for (int i = 0; i < 50; i++) {
        free_runner(kit);
        new_runner(kit, SUPERVISOR);
    }
    free_runner(kit);
    ah_runner_free(NULL);
    new_runner(kit, SUPERVISOR);
    for (int i = 0; i < 20; i++) { /* with one that has just been asked for */
        ah_task_unref(child(kit, "fork", "pause"));
        free_runner(kit);
        assert_int_equal(count_alive(kit->run), 0);
        new_runner(kit, SUPERVISOR);
    }
}

/* The host of the next test. */
static void be_killed_host(const char *dir, const char *run)
{
    struct kit kit = {0};
    be_host(&kit, dir, run);
    struct ah_task *tasks[4];
    tasks[0] = child(&kit, "say", "ready", "pause");
    tasks[1] = child(&kit, "ignore", "fork", "escape", "say", "ready", "pause");
    tasks[2] = child(&kit, "fork", "escape", "say", "ready", "exit", "0");
    tasks[3] = child(&kit, "say", "ready", "fork-flood", "pause");
    for (int i = 0; i < 4; i++) {
        await(strstr(output_of(tasks[i]), "ready") != NULL);
    }
    host_is_ready();
}

/* B5 */
static void test_host_is_killed(void **state)
{
    struct kit *kit = *state;
    pid_t pid = start_host(kit, "--host");
    assert_true(count_alive(kit->run) >= 8);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    await(count_alive(kit->run) == 0);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--host") == 0) {
        be_killed_host(argv[2], argv[3]);
    }
    const struct CMUnitTest tests[] = {
        with_kit(test_supervisor_dies),
        with_kit(test_supervisor_dies_last),
        with_kit(test_supervisor_dies_at_the_end),
        with_kit(test_supervisor_dies_too_often),
        with_kit(test_supervisor_is_missing),
        with_kit(test_supervisor_hangs),
        with_kit(test_free_ends_everything),
        with_kit(test_free_ends_many),
        with_kit(test_free_without_tasks),
        with_kit(test_host_is_killed),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
