/* Tasks that are ended: by time, by somebody, by the output limit; and what is limited otherwise.
 */
#include "kit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
/* ---- timeout and kill ---- */

/* A task whose time is over once it has printed "before". The first ones have little time, and the
 * machine may stand still for longer. */
static struct ah_task *run_out_of_time(struct kit *kit, const char *const *argv, int signal)
{
    struct ah_task_options options = default_options(kit);
    options.timeout = 0.5;
    while (true) {
        struct ah_task *task = run_with(kit, options, argv);
        struct ah_task_state end = await_end(kit, task);
        assert_string_equal(ah_task_status_name(end.status), "timeout");
        assert_int_equal(count_alive(kit->run), 0);
        expect_notices(kit, 1);
        if (strcmp(output_of(task), "before\n") == 0 || options.timeout > 10) {
            assert_string_equal(output_of(task), "before\n");
            assert_int_equal(end.signal, signal);
            return task;
        }
        options.timeout *= 3;
        ah_task_unref(task);
    }
}

/* B4, B11: all descendants end, output so far stays. */
static void test_timeout_ends_the_whole_tree(void **state)
{
    struct kit *kit = *state;
    static const char *const polite[] = {CHILD, "fork",   "escape", "fork",
                                         "say", "before", "pause",  NULL};
    struct ah_task *task = run_out_of_time(kit, polite, SIGTERM);
    assert_non_null(strstr(state_of(task).reason, "time"));
    ah_task_unref(task);

    /* Nobody cares for TERM: KILL after the grace. */
    static const char *const deaf[] = {CHILD, "ignore", "fork",  "escape",
                                       "say", "before", "pause", NULL};
    task = run_out_of_time(kit, deaf, SIGKILL);
    assert_true(state_of(task).seconds >= 0.7);
    ah_task_unref(task);

    /* The leader ends at TERM, a grandchild does not: all the same. */
    static const char *const mixed[] = {
        "sh", "-c", SH_CHILD " ignore escape fork say before pause & wait", NULL};
    task = run_out_of_time(kit, mixed, SIGTERM);
    ah_task_unref(task);

    /* One that ends in time is left alone. */
    struct ah_task_options options = default_options(kit);
    options.timeout = 60;
    task = child_with(kit, options, "exit", "0");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    ah_task_unref(task);
    expect_notices(kit, 1);
}

/* A second TERM is "at once" to many programs, so a polite end sends one. */
static void test_one_term_only(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "count", "say", "ready", "pause");
    await_output(task, "ready");
    assert_true(ah_task_kill(task, 0.3, "test"));
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    assert_string_equal(output_of(task), "ready\nterm\n");
    ah_task_unref(task);
}

static void test_kill_in_every_state(void **state)
{
    struct kit *kit = *state;
    ah_runner_set_max_running(kit->runner, 1);
    struct ah_task *running = child(kit, "ignore", "say", "ready", "pause");
    struct ah_task *queued = child(kit, "exit", "0");
    await_output(running, "ready");
    assert_true(ah_task_kill(queued, 0, "you"));
    assert_true(state_of(queued).ended);
    expect_end(kit, queued, AH_TASK_KILLED, -1, 0);
    assert_non_null(strstr(state_of(queued).reason, "by you"));
    expect_notices(kit, 1);
    assert_false(ah_task_kill(queued, 0, "you"));
    /* A long grace, then less patience. */
    assert_true(ah_task_kill(running, 1000, "you"));
    assert_true(ah_task_kill(running, 0, "you"));
    expect_end(kit, running, AH_TASK_KILLED, -1, SIGKILL);
    assert_false(ah_task_kill(running, 0, "nobody"));
    assert_string_equal(state_of(running).reason, "by you");
    expect_notices(kit, 1);
    ah_task_unref(running);
    ah_task_unref(queued);
}

static void test_spawn_then_kill(void **state)
{
    struct kit *kit = *state;
    ah_task_unref(child(kit, "exit", "0"));
    await(ah_queue_count(kit->queue) == 1);
    expect_notices(kit, 1);
    pid_t supervisor = find_supervisor();
    size_t descriptors = count_descriptors(supervisor);
    for (int round = 0; round < 300; round++) {
        struct ah_task *task = child(kit, "fork", "pause");
        for (volatile int spin = 0; spin < (round % 30) * 20000; spin++) {
        }
        if (round % 3 == 0) {
            await(state_of(task).status != AH_TASK_QUEUED);
        }
        assert_true(ah_task_kill(task, round % 2 == 0 ? 0 : 10, "test"));
        struct ah_task_state end = await_end(kit, task);
        assert_string_equal(ah_task_status_name(end.status), "killed");
        expect_notices(kit, 1);
        ah_task_unref(task);
    }
    assert_int_equal(count_alive(kit->run), 0);
    pid_t living = 0;
    await(find_children(supervisor, &living) == 0); /* no zombies */
    assert_int_equal(find_supervisor(), supervisor);
    await(count_descriptors(supervisor) == descriptors); /* it tells an end before it tidies up */
}

/* ---- the output limit ---- */

/* About the limit, the head and the tail of what the flood wrote, and one line between them. */
static bool is_trimmed(const struct ah_task *task, ssize_t limit)
{
    static char text[1 << 20];
    ssize_t size = read_some(ah_task_output_path(task), text, sizeof text - 1);
    if (size < limit || size > limit + 200 || memcmp(text, "yyyyyy", 6) != 0 ||
        strchr("y\n", text[size - 1]) == NULL) {
        return false; /* the last line may be cut: by KILL, in the middle of a write */
    }
    const char *left_out = strstr(text, "bytes left out");
    return left_out != NULL && strstr(left_out + 1, "bytes left out") == NULL;
}

/* B6 */
static void test_output_limit(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.max_output = 100000;
    struct ah_task *task = child_with(kit, options, "flood");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    assert_string_equal(state_of(task).reason, "output limit");
    assert_true(is_trimmed(task, 100000));
    ah_task_unref(task);

    task = child_with(kit, options, "fork-flood", "escape-flood", "pause");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    assert_int_equal(count_alive(kit->run), 0);
    assert_true(is_trimmed(task, 100000));
    ah_task_unref(task);

    /* Exactly at the limit is within it. */
    options.max_output = 3;
    task = child_with(kit, options, "say", "hi");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "hi\n");
    ah_task_unref(task);
}

static void test_output_limit_of_leftovers(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.max_output = 100000;
    /* It floods once the leader is gone, so that it is the leftover that passes the limit. */
    struct ah_task *task =
        shell_with(kit, options,
                   "leader=$$; (while kill -0 $leader 2>&-; do sleep 0.01; done; exec " SH_CHILD
                   " flood) & exit 0");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    await(count_alive(kit->run) == 0 && is_trimmed(task, 100000));
    ah_task_unref(task);

    /* One that has left its group, too; also when others end before and after it was adopted. */
    char fifo[200];
    snprintf(fifo, sizeof fifo, "%s/fifo", kit->dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    task = child_with(kit, options, "escape", "say", "yyyyyy", "drain", fifo, "late-flood");
    await_output(task, "yyyyyy");
    for (int i = 0; i < 3; i++) {
        struct ah_task *other = child_with(kit, options, "fork", "escape", "exit", "0");
        expect_end(kit, other, AH_TASK_COMPLETED, 0, 0);
        ah_task_unref(other);
    }
    int fd = -1;
    await((fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) >= 0);
    close(fd);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    await(count_alive(kit->run) == 6 && is_trimmed(task, 100000)); /* the others' stay */
    ah_task_unref(task);
}

/* A background process that prints nothing more is not ended for what was printed before. */
static void test_quiet_leftover_of_a_trimmed_task(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.max_output = 1000;
    char text[3501];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    const char *const words[] = {"sh", "-c", "sleep 300 & sleep 0.05; exec " SH_CHILD " say \"$0\"",
                                 text, NULL};
    struct ah_task *task = NULL;
    /* It has to exit before its output is looked at, which is soon after the write. */
    for (int tries = 0; tries < 50 && task == NULL; tries++) {
        task = run_with(kit, options, words);
        if (await_end(kit, task).status == AH_TASK_KILLED) {
            ah_task_unref(task);
            task = NULL;
        }
    }
    assert_non_null(task);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_true(is_trimmed(task, 1000));
    struct ah_task *other = child(kit, "sleep", "0.5"); /* longer than the output is looked at */
    expect_end(kit, other, AH_TASK_COMPLETED, 0, 0);
    assert_int_equal(count_alive(kit->run), 1);
    assert_true(is_trimmed(task, 1000));
    ah_task_unref(task);
    ah_task_unref(other);
}

/* ---- the other limits ---- */

static void test_limits_are_set(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    char wanted[64];
    errno = 0;
    int niceness = getpriority(PRIO_PROCESS, 0);
    assert_int_equal(errno, 0);
    options.max_memory = 512 * 1024 * 1024;
    options.max_cpu = 77;
    options.max_files = 33;
    options.nice = 3;
    struct ah_task *task = shell_with(kit, options, "ulimit -v; ulimit -t; ulimit -n; nice");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    snprintf(wanted, sizeof wanted, "524288\n77\n33\n%d\n", niceness + 3 > 19 ? 19 : niceness + 3);
    assert_string_equal(output_of(task), wanted);
    ah_task_unref(task);

    /* None unless asked for: those of the host, although the supervisor has raised its own. */
    task = shell(kit, "ulimit -v; ulimit -t; ulimit -n; ulimit -Hn; nice");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    char own[128];
    FILE *shell = popen("ulimit -v; ulimit -t; ulimit -n; ulimit -Hn; nice", "re");
    assert_non_null(shell);
    own[fread(own, 1, sizeof own - 1, shell)] = '\0';
    assert_int_equal(pclose(shell), 0);
    assert_string_equal(output_of(task), own);
    ah_task_unref(task);
    expect_notices(kit, 2);
}

static void test_limits_are_enforced(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.max_memory = 64 * 1024 * 1024;
    struct ah_task *task =
        shell_with(kit, options, "dd if=/dev/zero of=/dev/null bs=256M count=1 2>/dev/null");
    expect_end(kit, task, AH_TASK_FAILED, 1, 0);
    ah_task_unref(task);

    options = default_options(kit);
    options.max_files = 10;
    task = shell_with(kit, options, "exec 9</dev/null; echo nine; exec 10</dev/null; echo ten");
    struct ah_task_state end = await_end(kit, task);
    assert_int_equal(end.status, AH_TASK_FAILED);
    assert_null(strstr(output_of(task), "ten\n"));
    ah_task_unref(task);

    options = default_options(kit);
    options.max_cpu = 1;
    task = shell_with(kit, options, "while :; do :; done");
    end = await_end(kit, task);
    assert_int_equal(end.status, AH_TASK_FAILED);
    assert_true(end.signal == SIGXCPU || end.signal == SIGKILL);
    assert_true(end.seconds >= 0.9);
    ah_task_unref(task);
    expect_notices(kit, 3);
}

/* Its state as in /proc/PID/stat; 0 when there is none. */
static char process_state(pid_t pid)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    const char *behind =
        pid > 0 && read_some(path, text, sizeof text - 1) > 0 ? strrchr(text, ')') : NULL;
    return behind != NULL ? behind[2] : '\0';
}

static pid_t read_pid(const struct kit *kit, const char *name)
{
    char path[300];
    char text[64] = "";
    snprintf(path, sizeof path, "%s/%s", kit->dir, name);
    return read_some(path, text, sizeof text - 1) > 0 ? (pid_t)atoi(text) : 0;
}

/* What is stopped takes no TERM: it used to sleep through the whole grace. */
static void test_stopped_task(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = shell(kit, "setsid sh -c 'echo $$ >escaped; kill -STOP $$; sleep 1000' &"
                                      "kill -STOP $$; sleep 1000");
    await(process_state(state_of(task).pid) == 'T');
    await(process_state(read_pid(kit, "escaped")) == 'T');
    assert_true(ah_task_kill(task, 1000, "test"));
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGTERM);
    assert_int_equal(count_alive(kit->run), 0);
    ah_task_unref(task);
}

/* Whoever has no descriptor left to look with used to take all for gone. */
static void test_end_without_descriptors(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "ignore", "escape", "say", "ready", "pause");
    await_output(task, "ready");
    pid_t supervisor = find_supervisor();
    struct rlimit none = {.rlim_cur = 3};
    struct rlimit before;
    assert_int_equal(prlimit(supervisor, RLIMIT_NOFILE, NULL, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(prlimit(supervisor, RLIMIT_NOFILE, &none, NULL), 0);
    await(is_running(task)); /* and is known to */
    pid_t leader = state_of(task).pid;
    assert_true(ah_task_kill(task, 0, "test")); /* reaches the group, and not who has left it */
    await(process_state(leader) == 'Z');
    for (int i = 0; i < 100; i++) { /* it looks several times */
        nap();
        assert_false(state_of(task).ended); /* that it runs may not be known yet */
    }
    assert_int_equal(prlimit(supervisor, RLIMIT_NOFILE, &before, NULL), 0);
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    assert_int_equal(count_alive(kit->run), 0);
    ah_task_unref(task);
}

static void test_limits_that_cannot_be_set(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.max_files = (uint64_t)1 << 40; /* more than the kernel allows anybody */
    expect_error(kit, child_with(kit, options, "exit", "0"), "cannot set its limits: ");
    if (geteuid() != 0) {
        options = default_options(kit);
        options.nice = -5;
        expect_error(kit, child_with(kit, options, "exit", "0"), "cannot set its limits: ");
    }
    /* So little memory that the program cannot be loaded. */
    options = default_options(kit);
    options.max_memory = 4096;
    struct ah_task *task = child_with(kit, options, "exit", "0");
    struct ah_task_state end = await_end(kit, task);
    assert_true(end.status == AH_TASK_ERROR || end.status == AH_TASK_FAILED);
    expect_notices(kit, 1);
    ah_task_unref(task);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        with_kit(test_timeout_ends_the_whole_tree),
        with_kit(test_one_term_only),
        with_kit(test_stopped_task),
        with_kit(test_end_without_descriptors),
        with_kit(test_kill_in_every_state),
        with_kit(test_spawn_then_kill),
        with_kit(test_output_limit),
        with_kit(test_output_limit_of_leftovers),
        with_kit(test_quiet_leftover_of_a_trimmed_task),
        with_kit(test_limits_are_set),
        with_kit(test_limits_are_enforced),
        with_kit(test_limits_that_cannot_be_set),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
