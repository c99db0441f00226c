/* Tasks with the real supervisor and real processes: how they start and end, and what is said of
 * it. */
#include "kit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
/* ---- plain ends ---- */

static void test_codes_and_signals(void **state)
{
    struct kit *kit = *state;
    static const struct {
        const char *word;
        const char *value;
        enum ah_task_status status;
        int code;
        int signal;
    } cases[] = {
        {"exit", "0", AH_TASK_COMPLETED, 0, 0},   {"exit", "1", AH_TASK_FAILED, 1, 0},
        {"exit", "127", AH_TASK_FAILED, 127, 0},  {"exit", "137", AH_TASK_FAILED, 137, 0},
        {"exit", "255", AH_TASK_FAILED, 255, 0},  {"signal", "9", AH_TASK_FAILED, -1, SIGKILL},
        {"signal", "15", AH_TASK_FAILED, -1, 15}, {"signal", "11", AH_TASK_FAILED, -1, SIGSEGV},
        {"signal", "13", AH_TASK_FAILED, -1, 13}, {"signal", "34", AH_TASK_FAILED, -1, 34},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ah_task *task = child(kit, cases[i].word, cases[i].value);
        expect_end(kit, task, cases[i].status, cases[i].code, cases[i].signal);
        assert_string_equal(state_of(task).reason, "");
        expect_notices(kit, 1);
        assert_false(ah_task_kill(task, 0, "test"));
        ah_task_unref(task);
    }
}

static void test_start_errors(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.command = "ah-no-such-command -x";
    const char *const missing[] = {"ah-no-such-command", "-x", NULL};
    expect_error(kit, run_with(kit, options, missing), "command not found: ah-no-such-command");

    options.command = kit->dir;
    const char *const directory[] = {kit->dir, NULL};
    expect_error(kit, run_with(kit, options, directory), "cannot execute");

    options.cwd = "/ah-no/such/dir";
    expect_error(kit, child_with(kit, options, "exit", "0"),
                 "cannot run in the directory /ah-no/such/dir: No such file");
    options.cwd = CHILD;
    expect_error(kit, child_with(kit, options, "exit", "0"), "Not a directory");

    assert_int_equal(rmdir(kit->output_dir), -1); /* holds the logs of those above */
    remove_dir(kit->output_dir);
    expect_error(kit, child(kit, "exit", "0"), "cannot open its input or the output file");
}

static void test_bad_options(void **state)
{
    struct kit *kit = *state;
    struct ah_err err = {0};
    struct ah_task *task = NULL;
    struct ah_task_options options = default_options(kit);
    size_t size = AH_LINK_MAX + 10;
    char *big = malloc(size);
    assert_non_null(big);
    memset(big, 'x', size - 1);
    big[size - 1] = '\0';
    options.argv = (char *[]){(char *)"echo", big, NULL};
    assert_int_equal(ah_task_run(kit->runner, &options, &task, &err), -E2BIG);
    assert_int_equal(err.code, -E2BIG);
    assert_non_null(strstr(err.msg, "too long"));
    assert_null(task);
    /* The longest single word that the kernel takes still gets through. */
    big[128 * 1024 - 1] = '\0';
    task = run_with(kit, default_options(kit), (const char *const[]){"true", big, NULL});
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    expect_notices(kit, 1);
    ah_task_unref(task);
    big[128 * 1024 - 1] = 'x';
    big[128 * 1024] = '\0';
    task = run_with(kit, default_options(kit), (const char *const[]){"true", big, NULL});
    expect_error(kit, task, "Argument list too long");
    free(big);

    char path[200];
    snprintf(path, sizeof path, "%s/file", kit->dir);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(ah_runner_set_dir(kit->runner, path), 0);
    task = NULL;
    options.argv = (char *[]){(char *)"true", NULL};
    assert_int_equal(ah_task_run(kit->runner, &options, &task, &err), -ENOTDIR);
    assert_null(task);
}

static void test_status_transitions(void **state)
{
    struct kit *kit = *state;
    ah_runner_set_max_running(kit->runner, 1);
    struct ah_task *first = child(kit, "say", "ready", "pause");
    struct ah_task *second = child(kit, "exit", "4");
    await_output(first, "ready"); /* may be there before the runner hears of the start */
    await(is_running(first));
    struct ah_task_state now = state_of(first);
    assert_true(now.pid > 0 && kill(now.pid, 0) == 0 && !now.ended && now.code == -1);
    now = state_of(second);
    assert_int_equal(now.status, AH_TASK_QUEUED);
    assert_true(now.pid == 0 && !now.ended);
    assert_int_equal(ah_queue_count(kit->queue), 0);
    assert_false(ah_task_acknowledge(first));
    assert_true(ah_task_kill(first, 5, "the test"));
    expect_end(kit, first, AH_TASK_KILLED, -1, SIGTERM);
    assert_string_equal(state_of(first).reason, "by the test");
    assert_true(state_of(first).seconds > 0 && state_of(first).seconds < 60);
    expect_end(kit, second, AH_TASK_FAILED, 4, 0);
    expect_notices(kit, 2);
    ah_task_unref(first);
    ah_task_unref(second);
}

static void test_notice_fields(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.command = "say & exit";
    options.label = "a label";
    struct ah_task *task = child_with(kit, options, "say", "hi", "exit", "3");
    assert_string_equal(ah_task_command(task), "say & exit");
    assert_string_equal(ah_task_label(task), "a label");
    assert_string_equal(ah_task_cwd(task), kit->dir);
    expect_end(kit, task, AH_TASK_FAILED, 3, 0);
    const struct ah_notice *notice = NULL;
    assert_int_equal(ah_queue_drain(kit->queue, &notice, 1), 1);
    assert_string_equal(text_of(notice, "kind"), "task");
    assert_string_equal(text_of(notice, "task"), ah_task_id(task));
    assert_string_equal(text_of(notice, "status"), "failed");
    assert_string_equal(text_of(notice, "command"), "say & exit");
    assert_string_equal(text_of(notice, "label"), "a label");
    assert_string_equal(text_of(notice, "output"), ah_task_output_path(task));
    assert_int_equal(field_of(notice, "code")->as.integer, 3);
    assert_int_equal(field_of(notice, "bytes")->as.integer, 3);
    assert_true(field_of(notice, "seconds")->as.number == state_of(task).seconds);
    assert_null(field_of(notice, "signal"));
    assert_null(field_of(notice, "reason"));
    acknowledge(kit, notice->seq);
    ah_task_unref(task);

    task = child(kit, "say", "ready", "pause");
    await_output(task, "ready");
    ah_task_kill(task, 5, "me");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGTERM);
    assert_int_equal(ah_queue_drain(kit->queue, &notice, 1), 1);
    assert_string_equal(text_of(notice, "status"), "killed");
    assert_string_equal(text_of(notice, "reason"), "by me");
    assert_int_equal(field_of(notice, "signal")->as.integer, SIGTERM);
    assert_null(field_of(notice, "code"));
    assert_null(field_of(notice, "label"));
    ah_task_unref(task);
}

static void test_find_and_list(void **state)
{
    struct kit *kit = *state;
    struct ah_task *tasks[20];
    for (int i = 0; i < 20; i++) {
        tasks[i] = child(kit, "exit", "0");
    }
    struct ah_task **list = NULL;
    size_t count = 0;
    assert_int_equal(ah_runner_list(kit->runner, &list, &count), 0);
    assert_int_equal(count, 20);
    for (int i = 0; i < 20; i++) {
        assert_ptr_equal(list[i], tasks[i]);
        struct ah_task *found = ah_runner_find(kit->runner, ah_task_id(tasks[i]));
        assert_ptr_equal(found, tasks[i]);
        ah_task_unref(found);
        ah_task_unref(list[i]);
    }
    free(list);
    static const char *const unknown[] = {"", "0", "zzzzzzzz", "0x123456", " 1234567", "123456789"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_null(ah_runner_find(kit->runner, unknown[i]));
    }
    for (int i = 0; i < 20; i++) {
        expect_end(kit, tasks[i], AH_TASK_COMPLETED, 0, 0);
        ah_task_unref(tasks[i]);
    }
}

/* ---- what a command finds around it ---- */

/* B3: completion is the exit of the process, whoever holds its output. */
static void test_background_child_does_not_delay_the_end(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = shell(kit, "sleep 300 & echo hi");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "hi\n");
    await(count_alive(kit->run) == 1); /* the sleep lives on until the host ends */
    ah_task_unref(task);
    task = child(kit, "fork", "escape", "exit", "5");
    expect_end(kit, task, AH_TASK_FAILED, 5, 0);
    await(count_alive(kit->run) == 3);
    ah_task_unref(task);
}

static void test_surroundings(void **state)
{
    struct kit *kit = *state;
    char wanted[400];
    signal(SIGPIPE, SIG_IGN); /* as the host has it */
    signal(SIGUSR1, SIG_IGN);
    struct ah_task *task = child(kit, "read", "tty", "signals", "cwd", "fds");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    snprintf(wanted, sizeof wanted, "0 bytes\ntty: ENXIO\n%s\n0\n1\n2\n", kit->dir);
    assert_string_equal(output_of(task), wanted);
    ah_task_unref(task);

    task = child(kit, "ids");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    int pid, session, group, parent;
    assert_int_equal(sscanf(output_of(task), "%d %d %d %d", &pid, &session, &group, &parent), 4);
    assert_int_equal(pid, session);
    assert_int_equal(pid, group);
    assert_int_equal(parent, find_supervisor());
    struct stat st;
    assert_int_equal(stat(ah_task_output_path(task), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(kit->output_dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    ah_task_unref(task);

    task = shell(kit, "yes | head -n 1; echo out; echo err >&2; echo out");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "y\nout\nerr\nout\n");
    ah_task_unref(task);

    task = child(kit, "garbage");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    output_of(task);
    assert_memory_equal(output_of(task), "a\0b\0\xff\xfe\xc3(\xed\xa0\x80\xf0\x9f\n", 14);
    ah_task_unref(task);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGUSR1, SIG_DFL);
}

static void test_environment(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    char wanted[300];
    setenv("AH_TEST_KEPT", "kept", 1);
    setenv("AH_TEST_GONE", "gone", 1);
    setenv("AH_TEST_CHANGED", "old", 1);
    char path[300];
    snprintf(path, sizeof path, "PATH=%s/bin:/bin:/usr/bin", kit->dir);
    options.env = (char *[]){(char *)"AH_TEST_GONE",
                             (char *)"AH_TEST_CHANGED=new=1",
                             (char *)"AH_TEST_ADDED=",
                             (char *)AH_LINK_MARKER "=forged",
                             path,
                             NULL};
    struct ah_task *task =
        child_with(kit, options, "env", "AH_TEST_KEPT", "env", "AH_TEST_GONE", "env",
                   "AH_TEST_CHANGED", "env", "AH_TEST_ADDED", "env", AH_LINK_MARKER);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    snprintf(wanted, sizeof wanted,
             "AH_TEST_KEPT=kept\nAH_TEST_GONE=(unset)\nAH_TEST_CHANGED=new=1\nAH_TEST_ADDED=\n"
             "%s=%s:%s\n",
             AH_LINK_MARKER, kit->run, ah_task_id(task));
    assert_string_equal(output_of(task), wanted);
    ah_task_unref(task);

    /* The command is looked for along the PATH that it is given. */
    char name[300];
    snprintf(name, sizeof name, "%s/bin", kit->dir);
    assert_int_equal(mkdir(name, 0700), 0);
    snprintf(name, sizeof name, "%s/bin/ah-test-tool", kit->dir);
    assert_int_equal(symlink(CHILD, name), 0);
    task = run_with(kit, options, (const char *const[]){"ah-test-tool", "say", "found", NULL});
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "found\n");
    ah_task_unref(task);
    unsetenv("AH_TEST_KEPT");
    unsetenv("AH_TEST_GONE");
    unsetenv("AH_TEST_CHANGED");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        with_kit(test_codes_and_signals),
        with_kit(test_start_errors),
        with_kit(test_bad_options),
        with_kit(test_status_transitions),
        with_kit(test_notice_fields),
        with_kit(test_find_and_list),
        with_kit(test_background_child_does_not_delay_the_end),
        with_kit(test_surroundings),
        with_kit(test_environment),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
