/* What the supervisor looks for, and how often: output files that grow, requests to end a task. */
#include "kit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>

/* ---- the output limit ---- */

/* Head, a line about what was left out, tail. */
static bool is_cut(const struct ah_task *task, ssize_t limit)
{
    static char text[1 << 20];
    ssize_t size = read_some(ah_task_output_path(task), text, sizeof text - 1);
    return size >= limit && size <= limit + 200 && strstr(text, "bytes left out") != NULL;
}

/* One that passes its limit and then only sleeps: at once, when it is asleep already, and when it
 * has been woken before. How soon that is, and how far one gets that goes on writing, is measured
 * in tests/bench/tasks. */
static void test_limit(void **state)
{
    struct kit *kit = *state;
    static const char *const before[] = {":", "sleep 0.5",
                                         "sleep 0.3; echo x; sleep 0.3; echo x; sleep 0.2"};
    struct ah_task_options options = default_options(kit);
    options.max_output = 10000;
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        char script[300];
        snprintf(script, sizeof script, "%s; head -c 20000 /dev/zero | tr '\\0' y; exec sleep 1000",
                 before[i]);
        struct ah_task *task = shell_with(kit, options, script);
        expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
        assert_string_equal(state_of(task).reason, "output limit");
        assert_true(is_cut(task, 10000));
        ah_task_unref(task);
    }
}

/* A file in the directory where commands run, for which one of them waits. */
static void make_file(const struct kit *kit, const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", kit->dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

/* The limit holds while a task is being ended, too: it used to have its whole grace to write. */
static void test_limit_while_ending(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.max_output = 100000;
    struct ah_task *task = shell_with(kit, options,
                                      "trap '' TERM; echo ready; until test -e go; do sleep 0.01; "
                                      "done; exec " SH_CHILD " flood");
    await_output(task, "ready");
    assert_true(ah_task_kill(task, 1000, "test"));
    make_file(kit, "go");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    assert_string_equal(state_of(task).reason, "by test");
    assert_true(is_cut(task, 100000));
    ah_task_unref(task);
}

/* How many output files inotify tells the supervisor of: those whose task is asleep. */
static int count_watched(pid_t supervisor)
{
    int count = 0;
    for (int fd = 3; fd < 64; fd++) {
        char path[64];
        static char text[64 * 1024];
        snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)supervisor, fd);
        if (read_some(path, text, sizeof text - 1) < 0) {
            continue;
        }
        for (const char *at = text; (at = strstr(at, "inotify wd:")) != NULL; at++) {
            const char *mask = strstr(at, " mask:");
            count += mask != NULL && (strtoul(mask + 6, NULL, 16) & IN_MODIFY) != 0 ? 1 : 0;
        }
    }
    return count;
}

/* Skips the test where the supervisor got no inotify instance: other programs may have them all, as
 * test_without_inotify has for a while. */
static void need_inotify(struct kit *kit)
{
    struct ah_task *task = child(kit, "exit", "0");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    ah_task_unref(task);
    bool found = false;
    for (int fd = 3; fd < 64 && !found; fd++) {
        char path[64];
        char target[64] = "";
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)find_supervisor(), fd);
        found = readlink(path, target, sizeof target - 1) > 0 && strstr(target, "inotify") != NULL;
    }
    if (!found) {
        skip();
    }
}

static void append(const struct ah_task *task, const char *text)
{
    int fd = open(ah_task_output_path(task), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* Each write is told and looked at, and then the next one is. */
static void test_quiet_task_is_watched(void **state)
{
    struct kit *kit = *state;
    need_inotify(kit);
    struct ah_task_options options = default_options(kit);
    options.max_output = 1000000;
    struct ah_task *task = child_with(kit, options, "say", "ready", "pause");
    await_output(task, "ready");
    pid_t supervisor = find_supervisor();
    for (int i = 0; i < 5; i++) {
        await(count_watched(supervisor) == 1);
        append(task, "x\n");
    }
    await(count_watched(supervisor) == 1);
    assert_true(ah_task_kill(task, 5, "test"));
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGTERM);
    await(count_watched(supervisor) == 0);
    ah_task_unref(task);
}

static void request(const struct ah_task *task, const char *text);

/* A command may put its own directory in the place of its output: the watch for it used to take the
 * place of the one for requests. */
static void test_output_that_is_a_directory(void **state)
{
    struct kit *kit = *state;
    need_inotify(kit);
    struct ah_task_options options = default_options(kit);
    options.max_output = 1000000;
    struct ah_task *other = child(kit, "say", "ready", "pause");
    struct ah_task *task = child_with(kit, options, "say", "ready", "pause");
    await_output(other, "ready");
    await_output(task, "ready");
    await(count_watched(find_supervisor()) == 1); /* the other one has no limit */
    const char *path = ah_task_output_path(task);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(kit->output_dir, path), 0);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    for (int i = 0; i < 250; i++) {
        nap(); /* some looks; too few of them and nothing is shown */
    }
    request(other, "5000\nyou\n");
    expect_end(kit, other, AH_TASK_KILLED, -1, SIGTERM);
    ah_task_unref(task);
    ah_task_unref(other);
}

/* How often the supervisor has waited for something. */
static long count_wakes(pid_t supervisor)
{
    char path[64];
    char text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)supervisor);
    assert_true(read_some(path, text, sizeof text - 1) > 0);
    const char *line = strstr(text, "\nvoluntary_ctxt_switches:");
    assert_non_null(line);
    return strtol(strchr(line, ':') + 1, NULL, 10);
}

/* In a second or more. */
static double count_wakes_a_second(pid_t supervisor)
{
    int64_t begin = ah_clock_now();
    long before = count_wakes(supervisor);
    while (ah_clock_now() < begin + SECOND) {
        nap();
    }
    long wakes = count_wakes(supervisor) - before;
    return (double)wakes * (double)SECOND / (double)(ah_clock_now() - begin);
}

/* It used to wake ten times a second for every task that was started at another moment. */
static void test_quiet_tasks_cost_nothing(void **state)
{
    struct kit *kit = *state;
    need_inotify(kit);
    enum { COUNT = 50 };
    struct ah_task_options options = default_options(kit);
    struct ah_task *tasks[COUNT];
    options.max_output = 256 * 1024 * 1024;
    for (int i = 0; i < COUNT; i++) {
        tasks[i] = child_with(kit, options, "say", "ready", "pause");
        nap();
    }
    for (int i = 0; i < COUNT; i++) {
        await_output(tasks[i], "ready");
    }
    pid_t supervisor = find_supervisor();
    await(count_wakes_a_second(supervisor) < 5); /* sooner or later */
    for (int i = 0; i < COUNT; i++) {
        ah_task_unref(tasks[i]);
    }
}

/* ---- requests ---- */

static void path_of_request(const struct ah_task *task, char *path, size_t size)
{
    const char *output = ah_task_output_path(task);
    snprintf(path, size, "%.*s.kill", (int)strlen(output) - 4, output);
}

/* As sys.write_file does it: whole from the beginning. */
static void request(const struct ah_task *task, const char *text)
{
    char path[300];
    char temp[310];
    path_of_request(task, path, sizeof path);
    snprintf(temp, sizeof temp, "%s.tmp", path);
    int fd = open(temp, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    assert_int_equal(rename(temp, path), 0);
}

static bool is_taken(const struct ah_task *task)
{
    char path[300];
    path_of_request(task, path, sizeof path);
    return access(path, F_OK) != 0;
}

static void test_request(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "fork", "escape", "say", "ready", "pause");
    struct ah_task *other = child(kit, "say", "ready", "pause");
    await_output(task, "ready");
    await_output(other, "ready");
    request(task, "5000\nyou, from afar\n");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGTERM);
    assert_string_equal(state_of(task).reason, "by you, from afar");
    assert_non_null(strstr(ledger_of(kit->ledger, ah_task_id(task)),
                           "\"status\":\"killed\",\"signal\":15,\"reason\":\"by you, from afar\""));
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start end");
    assert_true(is_taken(task));
    assert_int_equal(count_alive(kit->run), 1);
    assert_false(state_of(other).ended);
    expect_notices(kit, 1);
    /* It has ended: nobody takes it, or it is taken and nothing happens. */
    request(task, "0\nyou\n");
    /* Nobody cares for TERM. */
    struct ah_task *stubborn = child(kit, "ignore", "fork", "escape", "say", "ready", "pause");
    await_output(stubborn, "ready");
    request(stubborn, "100\nyou\n");
    expect_end(kit, stubborn, AH_TASK_KILLED, -1, SIGKILL);
    assert_int_equal(count_alive(kit->run), 1);
    assert_string_equal(records_of(kit->ledger, ah_task_id(task)), "queued start end");
    ah_task_unref(task);
    ah_task_unref(other);
    ah_task_unref(stubborn);
}

static void test_malformed_requests(void **state)
{
    struct kit *kit = *state;
    static const char *const texts[] = {"",           "5000",      "5000\n",
                                        "5000\n\n",   "5000\nyou", "-1\nyou\n",
                                        "x\nyou\n",   "\nyou\n",   "9999999999999999999\nyou\n",
                                        "5\ny\033u\n"};
    struct ah_task *task = child(kit, "say", "ready", "pause");
    await_output(task, "ready");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        request(task, texts[i]);
        await(is_taken(task));
        assert_false(state_of(task).ended);
    }
    /* Not a file, or nobody's task. */
    char path[300];
    char other[400];
    path_of_request(task, path, sizeof path);
    snprintf(other, sizeof other, "%s/ffffffff.kill", kit->output_dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(mkfifo(other, 0600), 0);
    char moved[400];
    snprintf(moved, sizeof moved, "%s/fffffffe.kill", kit->output_dir);
    assert_int_equal(rename(other, moved), 0);
    if (geteuid() == 0) { /* of somebody else, should the directory be open to him */
        assert_int_equal(unlink(path), 0);
        snprintf(other, sizeof other, "%s/temp", kit->output_dir);
        int fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_int_equal(write(fd, "0\nyou\n", 6), 6);
        assert_int_equal(fchown(fd, 12345, 12345), 0);
        close(fd);
        assert_int_equal(rename(other, path), 0);
    }
    struct ah_task *last = child(kit, "exit", "3"); /* it still serves */
    expect_end(kit, last, AH_TASK_FAILED, 3, 0);
    assert_false(state_of(task).ended);
    assert_false(is_taken(task));
    ah_task_unref(task);
    ah_task_unref(last);
}

/* ---- when inotify has lost events ---- */

static unsigned long most_events(void)
{
    char text[64];
    assert_true(read_some("/proc/sys/fs/inotify/max_queued_events", text, sizeof text - 1) > 0);
    return strtoul(text, NULL, 10);
}

/* More renames than may wait to be told. */
static void overflow(const struct kit *kit, unsigned long most)
{
    char paths[2][300];
    for (int i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%d.tmp", kit->output_dir, i);
    }
    int fd = open(paths[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    for (unsigned long i = 0; i <= most; i++) {
        assert_int_equal(rename(paths[i % 2], paths[1 - i % 2]), 0);
    }
}

static void test_overflow(void **state)
{
    struct kit *kit = *state;
    need_inotify(kit);
    struct ah_task_options options = default_options(kit);
    options.max_output = 1000000;
    struct ah_task *asked = child_with(kit, options, "say", "ready", "pause");
    struct ah_task *quiet = child_with(kit, options, "say", "ready", "pause");
    await_output(asked, "ready");
    await_output(quiet, "ready");
    pid_t supervisor = find_supervisor();
    await(count_watched(supervisor) == 2);
    unsigned long most = most_events();
    if (most <= 200000) {
        kill(supervisor, SIGSTOP);
        overflow(kit, most);
        append(quiet, "x\n");
        request(asked, "5000\nyou\n");
        kill(supervisor, SIGCONT);
        expect_end(kit, asked, AH_TASK_KILLED, -1, SIGTERM);
        assert_string_equal(state_of(asked).reason, "by you");
        await(count_watched(supervisor) == 1); /* the quiet one, again */
    }
    ah_task_unref(asked);
    ah_task_unref(quiet);
    if (most > 200000) {
        skip();
    }
}

/* ---- without inotify ---- */

/* Its instances are counted per user: all of them are taken. */
static void test_without_inotify(void **state)
{
    struct kit *kit = *state;
    enum { MOST = 1000 };
    int taken[MOST];
    int count = 0;
    while (count < MOST && (taken[count] = inotify_init1(IN_CLOEXEC)) >= 0) {
        count++;
    }
    struct ah_task *task = NULL;
    if (errno == EMFILE && count < MOST) {
        struct ah_task_options options = default_options(kit);
        options.max_output = 100000;
        struct ah_task *quiet = child_with(kit, options, "say", "ready", "pause");
        task = child_with(kit, options, "sleep", "0.6", "flood");
        expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
        assert_true(is_cut(task, 100000));
        request(quiet, "5000\nyou\n");
        expect_end(kit, quiet, AH_TASK_KILLED, -1, SIGTERM);
        assert_string_equal(state_of(quiet).reason, "by you");
        ah_task_unref(quiet);
    }
    ah_task_unref(task);
    while (count > 0) {
        close(taken[--count]);
    }
    if (task == NULL) {
        skip(); /* there are more of them than this process may open */
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        with_kit(test_limit),
        with_kit(test_limit_while_ending),
        with_kit(test_quiet_task_is_watched),
        with_kit(test_output_that_is_a_directory),
        with_kit(test_quiet_tasks_cost_nothing),
        with_kit(test_request),
        with_kit(test_malformed_requests),
        with_kit(test_overflow),
        with_kit(test_without_inotify),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
