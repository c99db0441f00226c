/* What the ledger says of tasks: every end is in it before anybody is told, whatever the end is. */
#include "kit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* These are the records of a task, and the end says this. Gives the reference back. */
static void expect_records(struct kit *kit, struct ah_task *task, const char *records,
                           enum ah_task_status status, const char *more)
{
    char wanted[128];
    await_end(kit, task);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), records);
    const char *end = strstr(ledger_of(kit->ledger, ah_task_id(task)), "\"end\"");
    snprintf(wanted, sizeof wanted, "\"status\":\"%s\",%s", ah_task_status_name(status), more);
    if (strstr(end, wanted) == NULL) {
        fail_msg("no %s in %s", wanted, end);
    }
    assert_string_equal(ah_task_status_name(state_of(task).status), ah_task_status_name(status));
    ah_task_unref(task);
}

/* One that was started. */
static void expect_recorded(struct kit *kit, struct ah_task *task, enum ah_task_status status,
                            const char *more)
{
    expect_records(kit, task, "queued start end", status, more);
}

static void test_start_record(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    char wanted[512];
    options.command = "say \"\xff\"\n";
    options.label = "a label";
    struct ah_task *task = child_with(kit, options, "say", "ready", "pause");
    await(is_running(task)); /* the record is there before this is known */
    const char *line = ledger_of(kit->ledger, ah_task_id(task));
    snprintf(wanted, sizeof wanted, "\"pid\":%d,\"born\":", (int)state_of(task).pid);
    assert_non_null(strstr(line, wanted));
    snprintf(wanted, sizeof wanted,
             ",\"owed\":true,\"detached\":false,\"command\":\"say \\\"\\ufffd\\\"\\u000a\","
             "\"label\":\"a label\",\"cwd\":\"%s\",\"output\":\"%s\"}\n",
             kit->dir, ah_task_output_path(task));
    assert_non_null(strstr(line, wanted));
    /* born is the start time as /proc has it */
    char path[64];
    char fields[1024];
    unsigned long long born = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)state_of(task).pid);
    assert_in_range(read_some(path, fields, sizeof fields - 1), 1, sizeof fields);
    assert_int_equal(sscanf(strrchr(fields, ')') + 1,
                            " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d"
                            " %*d %*d %llu",
                            &born),
                     1);
    snprintf(wanted, sizeof wanted, "\"born\":%llu,", born);
    assert_non_null(strstr(line, wanted));
    ah_task_kill(task, 0, "test");
    expect_recorded(kit, task, AH_TASK_KILLED, "\"signal\":9,\"reason\":\"by test\"");
    struct stat st;
    assert_int_equal(stat(kit->ledger, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    options.queue = NULL; /* then nothing is owed */
    task = child_with(kit, options, "exit", "0");
    await_end(kit, task);
    assert_non_null(strstr(ledger_of(kit->ledger, ah_task_id(task)), "\"owed\":false"));
    ah_task_unref(task);
}

static void test_every_end_is_recorded(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    expect_recorded(kit, child(kit, "exit", "0"), AH_TASK_COMPLETED, "\"code\":0,\"seconds\":");
    expect_recorded(kit, child(kit, "exit", "3"), AH_TASK_FAILED, "\"code\":3,\"seconds\":");
    expect_recorded(kit, child(kit, "signal", "11"), AH_TASK_FAILED, "\"signal\":11,\"seconds\"");
    options.timeout = 0.2;
    expect_recorded(kit, child_with(kit, options, "pause"), AH_TASK_TIMEOUT,
                    "\"signal\":15,\"reason\":\"its time was over\",\"seconds\":");
    options = default_options(kit);
    options.max_output = 1000;
    expect_recorded(kit, child_with(kit, options, "flood"), AH_TASK_KILLED,
                    "\"signal\":9,\"reason\":\"output limit\",\"seconds\":");
    options.cwd = "/ah-no/dir";
    expect_recorded(kit, child_with(kit, options, "exit", "0"), AH_TASK_ERROR,
                    "\"reason\":\"cannot run in the directory /ah-no/dir: No such file");
    const char *const missing[] = {"ah-no-such-command", NULL};
    expect_recorded(kit, run_with(kit, default_options(kit), missing), AH_TASK_ERROR,
                    "\"reason\":\"command not found: test\"");
}

static void test_killed_while_queued(void **state)
{
    struct kit *kit = *state;
    ah_runner_set_max_running(kit->runner, 1);
    struct ah_task *first = child(kit, "say", "ready", "pause");
    await_output(first, "ready");
    struct ah_task *queued = child(kit, "exit", "0");
    ah_task_kill(queued, 0, "you");
    assert_non_null(strstr(ledger_of(kit->ledger, ah_task_id(queued)), "\"owed\":true"));
    expect_records(kit, queued, "queued end", AH_TASK_KILLED,
                   "\"reason\":\"by you, before it was started\"");
    ah_task_kill(first, 0, "test");
    await_end(kit, first);
    ah_task_unref(first);
}

static void test_lost(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "fork", "say", "ready", "pause");
    await_output(task, "ready");
    kill_supervisor();
    expect_recorded(kit, task, AH_TASK_LOST, "\"reason\":\"the supervisor of the task died\"");
    /* The next supervisor goes on in the same file. */
    expect_recorded(kit, child(kit, "exit", "4"), AH_TASK_FAILED, "\"code\":4");
}

/* One that the supervisor never heard of is in the ledger all the same. */
static void test_lost_before_the_start(void **state)
{
    struct kit *kit = *state;
    struct ah_task *first = child(kit, "say", "ready", "pause");
    await_output(first, "ready");
    pid_t supervisor = find_supervisor();
    assert_int_equal(kill(supervisor, SIGSTOP), 0);
    struct ah_task *task = child(kit, "exit", "0");
    struct ah_task *mark = child(kit, "exit", "0");
    ah_task_unref(mark);
    for (int i = 0; i < 50; i++) {
        nap(); /* perhaps it is sent by now, perhaps not: either way */
    }
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    struct ah_task_state end = await_end(kit, task);
    assert_int_equal(end.status, AH_TASK_LOST);
    assert_non_null(strstr(ledger_of(kit->ledger, ah_task_id(task)), "\"command\":\"test\""));
    expect_records(kit, task, "queued end", AH_TASK_LOST,
                   "\"reason\":\"the supervisor of the task died\"");
    await_end(kit, first);
    ah_task_unref(first);
    await(count_alive(kit->run) == 0);
}

static void test_supervisor_is_missing(void **state)
{
    struct kit *kit = *state;
    free_runner(kit);
    new_runner(kit, "/ah-no/such/supervisor");
    struct ah_task *task = child(kit, "exit", "0");
    await_end(kit, task);
    assert_non_null(strstr(ledger_of(kit->ledger, ah_task_id(task)), "\"command\":\"test\""));
    expect_records(kit, task, "queued end", AH_TASK_ERROR,
                   "\"reason\":\"cannot start the supervisor");
}

/* With the end of the host, too: nobody is told then, but the ledger is. */
static void test_ends_with_the_runner(void **state)
{
    struct kit *kit = *state;
    char ids[3][9];
    struct ah_task *tasks[3];
    tasks[0] = child(kit, "say", "ready", "pause");
    tasks[1] = child(kit, "ignore", "say", "ready", "pause");
    tasks[2] = child(kit, "fork", "escape", "say", "ready", "pause");
    for (int i = 0; i < 3; i++) {
        await_output(tasks[i], "ready");
        memcpy(ids[i], ah_task_id(tasks[i]), sizeof ids[i]);
        ah_task_unref(tasks[i]);
    }
    free_runner(kit);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(records_of(kit->ledger, ids[i]), "queued start end");
        assert_non_null(
            strstr(ledger_of(kit->ledger, ids[i]), "\"status\":\"killed\",\"signal\":"));
        assert_non_null(strstr(ledger_of(kit->ledger, ids[i]), "by the end of agenthost"));
    }
}

static bool holds_end(const struct kit *kit, const char *id)
{
    return strstr(records_of(kit->ledger, id), "queued start end") != NULL;
}

/* The moment that a notice is in the queue, or a state is an end, its record is in the file. */
static void test_the_record_comes_first(void **state)
{
    struct kit *kit = *state;
    enum { COUNT = 200 };
    ah_runner_set_max_running(kit->runner, 8);
    for (int i = 0; i < COUNT; i++) {
        ah_task_unref(child(kit, "exit", "0"));
    }
    int seen = 0;
    while (seen < COUNT) {
        const struct ah_notice *notice = NULL;
        await(ah_queue_count(kit->queue) > 0);
        assert_int_equal(ah_queue_drain(kit->queue, &notice, 1), 1);
        if (!holds_end(kit, text_of(notice, "task"))) {
            fail_msg("told before it was written: %s", text_of(notice, "task"));
        }
        acknowledge(kit, notice->seq);
        seen++;
    }
}

static void test_owed_and_delivered(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    struct ah_task *task = child_with(kit, options, "exit", "0");
    await_end(kit, task);
    assert_int_equal(ah_task_delivered(task), 0);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start end delivered");
    ah_task_unref(task);

    options.notify = false;
    task = child_with(kit, options, "exit", "0");
    await_end(kit, task);
    assert_int_equal(ah_task_delivered(task), 0); /* owes none: nothing to note */
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start end");
    assert_non_null(strstr(ledger_of(kit->ledger, ah_task_id(task)), "\"owed\":false"));
    ah_task_set_notify(task, true);
    ah_task_set_notify(task, true);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start end owed");
    assert_int_equal(ah_task_delivered(task), 0);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)),
                        "queued start end owed delivered");
    ah_task_unref(task);

    task = child_with(kit, options, "say", "ready", "pause"); /* while it runs */
    await_output(task, "ready");
    ah_task_set_notify(task, true);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start owed");
    ah_task_kill(task, 0, "test");
    await_end(kit, task);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start owed end");
    ah_task_unref(task);

    ah_runner_set_max_running(kit->runner, 1); /* before it was started */
    struct ah_task *first = child_with(kit, options, "say", "ready", "pause");
    await_output(first, "ready");
    task = child_with(kit, options, "exit", "0");
    ah_task_set_notify(task, true);
    ah_task_kill(first, 0, "test");
    await_end(kit, task);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued owed start end");
    ah_task_unref(first);
    ah_task_unref(task);

    options.queue = NULL; /* nobody to tell: nothing is owed */
    task = child_with(kit, options, "exit", "0");
    await_end(kit, task);
    ah_task_set_notify(task, true);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start end");
    ah_task_unref(task);
}

/* Acknowledged before it was owed: it stays told, also for who reads the ledger later. */
static void test_told_by_other_means_is_not_owed(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.notify = false;
    struct ah_task *task = child_with(kit, options, "exit", "0");
    await_end(kit, task);
    assert_true(ah_task_acknowledge(task));
    ah_task_set_notify(task, true);
    expect_notices(kit, 0);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start end");
    ah_task_unref(task);
}

/* Tasks of two places are written to two ledgers. */
static void test_another_directory(void **state)
{
    struct kit *kit = *state;
    char dir[160];
    char ledger[200];
    struct ah_task *first = child(kit, "say", "ready", "pause");
    await_output(first, "ready");
    snprintf(dir, sizeof dir, "%s/other", kit->dir);
    snprintf(ledger, sizeof ledger, "%s/tasks.jsonl", dir);
    assert_int_equal(ah_runner_set_dir(kit->runner, dir), 0);
    struct ah_task *second = child(kit, "exit", "2");
    await_end(kit, second);
    assert_string_equal(records_of(ledger, ah_task_id(second)), "queued start end");
    assert_string_equal(records_of(kit->ledger, ah_task_id(second)), "");
    assert_int_equal(ah_task_delivered(second), 0);
    ah_task_kill(first, 0, "test");
    await_end(kit, first);
    assert_int_equal(ah_task_delivered(first), 0);
    assert_string_equal(records_of(kit->ledger, ah_task_id(first)), "queued start end delivered");
    assert_string_equal(records_of(ledger, ah_task_id(second)), "queued start end delivered");
    ah_task_unref(first);
    ah_task_unref(second);
}

/* A ledger that cannot be written is said with the end, and holds nothing up. */
static void test_ledger_cannot_be_written(void **state)
{
    struct kit *kit = *state;
    assert_int_equal(mkdir(kit->ledger, 0700), 0);
    struct ah_task *task = child(kit, "exit", "3");
    expect_end(kit, task, AH_TASK_FAILED, 3, 0);
    assert_string_equal(state_of(task).reason, "the ledger could not be written: Is a directory");
    assert_int_equal(ah_task_delivered(task), -EISDIR);
    expect_notices(kit, 1);
    ah_task_unref(task);
    ah_runner_set_max_running(kit->runner, 1);
    struct ah_task *first = child(kit, "say", "ready", "pause");
    await_output(first, "ready");
    task = child(kit, "exit", "0");
    ah_task_kill(task, 0, "me");
    expect_end(kit, task, AH_TASK_KILLED, -1, 0);
    assert_string_equal(state_of(task).reason, "by me, before it was started; the ledger could not "
                                               "be written: Is a directory");
    ah_task_unref(task);
    ah_task_kill(first, 0, "me");
    await_end(kit, first);
    ah_task_unref(first);
    assert_int_equal(rmdir(kit->ledger), 0); /* from now on it works again */
    task = child(kit, "exit", "0");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(state_of(task).reason, "");
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start end");
    ah_task_unref(task);
}

/* The supervisor inherits the bound on a file's size: a full disk for its records. */
static void test_full_disk(void **state)
{
    struct kit *kit = *state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 700, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct ah_task *task = NULL;
    for (int i = 0; i < 5; i++) { /* each writes about 300 bytes */
        ah_task_unref(task);
        task = child(kit, "exit", "7");
        expect_end(kit, task, AH_TASK_FAILED, 7, 0);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_non_null(
        strstr(state_of(task).reason, "the ledger could not be written: File too large"));
    ah_task_unref(task);
    expect_notices(kit, 5);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        with_kit(test_start_record),
        with_kit(test_every_end_is_recorded),
        with_kit(test_killed_while_queued),
        with_kit(test_lost),
        with_kit(test_lost_before_the_start),
        with_kit(test_supervisor_is_missing),
        with_kit(test_ends_with_the_runner),
        with_kit(test_the_record_comes_first),
        with_kit(test_owed_and_delivered),
        with_kit(test_told_by_other_means_is_not_owed),
        with_kit(test_another_directory),
        with_kit(test_ledger_cannot_be_written),
        with_kit(test_full_disk),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
