/*
 * The task runner with the real supervisor and real processes: how tasks end, who is told, and that
 * nothing is left behind.
 *
 * Each test has a runner of its own (struct kit). Its teardown frees it and then looks for what
 * should not be there: processes with the runner's marker, children, descriptors.
 */
#include "core/clock.h"
#include "core/superlink.h"
#include "core/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CHILD AH_BUILD_DIR "/fixture_child"
#define SUPERVISOR AH_BUILD_DIR "/agenthost-supervisor"
#define SECOND 1000000000LL
#define PATIENCE (30 * SECOND) /* for what is certain to come */
#define MANY 64

extern char **environ;

struct kit {
    struct ah_wake *wake;
    struct ah_queue *queue;
    struct ah_runner *runner;
    char run[64];
    char dir[128];
    char output_dir[160];
    size_t descriptors; /* before all */
};

/* ---- looking at processes and files ---- */

static size_t count_descriptors(pid_t pid)
{
    size_t count = 0;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* Up to `cap` bytes of a file and a NUL; the file's size, or -1. */
static ssize_t read_some(const char *path, char *data, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    size_t len = 0;
    ssize_t n;
    while (len < cap && (n = read(fd, data + len, cap - len)) > 0) {
        len += (size_t)n;
    }
    data[len] = '\0';
    struct stat st;
    fstat(fd, &st);
    close(fd);
    return S_ISREG(st.st_mode) && st.st_size > 0 ? st.st_size : (ssize_t)len;
}

/* How many living processes carry the marker of this run. */
static int count_alive(const char *run)
{
    static char environment[256 * 1024 + 1];
    char marker[128];
    int len = snprintf(marker, sizeof marker, AH_LINK_MARKER "=%s:", run);
    int count = 0;
    DIR *dir = opendir("/proc");
    assert_non_null(dir);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char path[300];
        snprintf(path, sizeof path, "/proc/%s/environ", entry->d_name);
        ssize_t size =
            atoi(entry->d_name) > 0 ? read_some(path, environment, sizeof environment - 1) : -1;
        for (const char *at = environment; at < environment + size; at += strlen(at) + 1) {
            if (strncmp(at, marker, (size_t)len) == 0) {
                count++;
                break;
            }
        }
    }
    closedir(dir);
    return count;
}

/* Children of a process, zombies included; one of them that lives in *ret_pid. */
static int find_children(pid_t of, pid_t *ret_pid)
{
    int count = 0;
    DIR *dir = opendir("/proc");
    assert_non_null(dir);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char path[300];
        char text[1024];
        int parent;
        char status;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        if (atoi(entry->d_name) > 0 && read_some(path, text, sizeof text - 1) > 0 &&
            sscanf(strrchr(text, ')') + 1, " %c %d", &status, &parent) == 2 && parent == of) {
            count++;
            *ret_pid = status != 'Z' ? atoi(entry->d_name) : *ret_pid;
        }
    }
    closedir(dir);
    return count;
}

/* The supervisor: the only child of this process; 0 when there is none. */
static pid_t find_supervisor(void)
{
    pid_t found = 0;
    find_children(getpid(), &found);
    return found;
}

/* The bytes of a small output file as text. Valid until the next call. */
static const char *output_of(const struct ah_task *task)
{
    static char text[8192];
    ssize_t size = read_some(ah_task_output_path(task), text, sizeof text - 1);
    return size >= 0 ? text : "(no output file)";
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Waits until the condition holds; between two looks it naps. */
#define await(condition)                                    \
    do {                                                    \
        int64_t await_deadline = ah_clock_now() + PATIENCE; \
        while (!(condition)) {                              \
            if (ah_clock_now() > await_deadline) {          \
                fail_msg("in vain: %s", #condition);        \
            }                                               \
            nap();                                          \
        }                                                   \
    } while (0)

/* ---- a runner for each test ---- */

static void new_runner(struct kit *kit, const char *supervisor)
{
    struct ah_err err = {0};
    struct ah_runner_options options = {
        .wake = kit->wake, .supervisor_path = supervisor, .run = kit->run};
    if (ah_runner_new(&options, &kit->runner, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(ah_runner_set_output_dir(kit->runner, kit->output_dir), 0);
}

static void free_runner(struct kit *kit)
{
    ah_runner_free(kit->runner);
    kit->runner = NULL;
}

static int setup(void **state)
{
    static int number;
    struct kit *kit = calloc(1, sizeof *kit);
    assert_non_null(kit);
    kit->descriptors = count_descriptors(getpid());
    snprintf(kit->run, sizeof kit->run, "test-%d-%d", (int)getpid(), ++number);
    snprintf(kit->dir, sizeof kit->dir, "/tmp/ah-task-XXXXXX");
    assert_non_null(mkdtemp(kit->dir));
    snprintf(kit->output_dir, sizeof kit->output_dir, "%s/tasks", kit->dir);
    assert_int_equal(ah_wake_new(&kit->wake), 0);
    assert_int_equal(ah_queue_new(kit->wake, &kit->queue), 0);
    new_runner(kit, SUPERVISOR);
    *state = kit;
    return 0;
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            char name[500];
            snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            if (unlink(name) != 0) {
                remove_dir(name);
            }
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    rmdir(path);
}

static int teardown(void **state)
{
    struct kit *kit = *state;
    free_runner(kit);
    int alive = count_alive(kit->run);
    siginfo_t info;
    int children = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
    ah_queue_unref(kit->queue);
    ah_wake_free(kit->wake);
    size_t descriptors = count_descriptors(getpid());
    remove_dir(kit->dir);
    size_t before = kit->descriptors;
    free(kit);
    assert_int_equal(alive, 0);
    assert_int_equal(children, -1); /* ECHILD */
    assert_int_equal(descriptors, before);
    return 0;
}

/* ---- running and waiting ---- */

static struct ah_task_options default_options(struct kit *kit)
{
    return (struct ah_task_options){
        .command = "test", .cwd = kit->dir, .grace = 0.2, .queue = kit->queue, .notify = true};
}

static struct ah_task *run_with(struct kit *kit, struct ah_task_options options,
                                const char *const *argv)
{
    struct ah_task *task = NULL;
    struct ah_err err = {0};
    options.argv = (char **)argv;
    if (ah_task_run(kit->runner, &options, &task, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    return task;
}

/* The fixture with words, for example child_with(kit, options, "say", "hi", "exit", "3"). */
#define child_with(kit, options, ...) \
    run_with(kit, options, (const char *const[]){CHILD, __VA_ARGS__, NULL})
#define child(kit, ...) child_with(kit, default_options(kit), __VA_ARGS__)
#define shell(kit, script) \
    run_with(kit, default_options(kit), (const char *const[]){"sh", "-c", script, NULL})

static struct ah_task_state state_of(struct ah_task *task)
{
    struct ah_task_state state;
    ah_task_get_state(task, &state);
    return state;
}

static bool is_running(struct ah_task *task)
{
    return state_of(task).status == AH_TASK_RUNNING;
}

/* Sleeps on the wake, as the host does, so that a missing post is a failure. */
static struct ah_task_state await_end(struct kit *kit, struct ah_task *task)
{
    int64_t deadline = ah_clock_now() + PATIENCE;
    while (!state_of(task).ended) {
        struct pollfd fd = {.fd = ah_wake_fd(kit->wake), .events = POLLIN};
        poll(&fd, 1, ah_clock_poll_timeout(deadline));
        uint64_t ids[64];
        bool all;
        ah_wake_take(kit->wake, ids, 64, &all);
        if (ah_clock_now() > deadline) {
            fail_msg("task does not end: %s", output_of(task));
        }
    }
    return state_of(task);
}

static void await_output(struct ah_task *task, const char *text)
{
    int64_t deadline = ah_clock_now() + PATIENCE;
    while (strstr(output_of(task), text) == NULL) {
        if (ah_clock_now() > deadline || state_of(task).ended) {
            fail_msg("no '%s' in '%s'", text, output_of(task));
        }
        nap();
    }
}

#define expect_end(kit, task, wanted_status, wanted_code, wanted_signal) \
    do {                                                                 \
        struct ah_task_state expect_state = await_end(kit, task);        \
        assert_string_equal(ah_task_status_name(expect_state.status),    \
                            ah_task_status_name(wanted_status));         \
        assert_int_equal(expect_state.code, wanted_code);                \
        assert_int_equal(expect_state.signal, wanted_signal);            \
        assert_int_equal(expect_state.pid, 0);                           \
    } while (0)

static const struct ah_field *field_of(const struct ah_notice *notice, const char *name)
{
    for (size_t i = 0; i < notice->count; i++) {
        if (strcmp(notice->fields[i].name, name) == 0) {
            return &notice->fields[i];
        }
    }
    return NULL;
}

static const char *text_of(const struct ah_notice *notice, const char *name)
{
    const struct ah_field *field = field_of(notice, name);
    return field != NULL && field->type == AH_FIELD_TEXT ? field->as.text.data : "(none)";
}

/* Drains all, checks that there are `count` of different tasks, and acknowledges them. */
static void expect_notices(struct kit *kit, size_t count)
{
    const struct ah_notice *notices[1000];
    assert_int_equal(ah_queue_count(kit->queue), count);
    assert_int_equal(ah_queue_drain(kit->queue, notices, 1000), count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(text_of(notices[i], "task"), text_of(notices[j], "task"));
        }
    }
    if (count > 0) {
        assert_int_equal(ah_queue_ack(kit->queue, notices[count - 1]->seq), count);
    }
}

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

static void expect_error(struct kit *kit, struct ah_task *task, const char *reason)
{
    expect_end(kit, task, AH_TASK_ERROR, -1, 0);
    if (strstr(state_of(task).reason, reason) == NULL) {
        fail_msg("'%s' is not in '%s'", reason, state_of(task).reason);
    }
    expect_notices(kit, 1);
    ah_task_unref(task);
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
    expect_error(kit, child(kit, "exit", "0"), "cannot write the output file");
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
    ah_task_unref(task);
    big[128 * 1024 - 1] = 'x';
    big[128 * 1024] = '\0';
    task = run_with(kit, default_options(kit), (const char *const[]){"true", big, NULL});
    expect_notices(kit, 1);
    expect_error(kit, task, "Argument list too long");
    free(big);

    char path[200];
    snprintf(path, sizeof path, "%s/file", kit->dir);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(ah_runner_set_output_dir(kit->runner, path), 0);
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
    ah_queue_ack(kit->queue, notice->seq);
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
    assert_int_equal(count_alive(kit->run), 1); /* the sleep lives on until the host ends */
    ah_task_unref(task);
    task = child(kit, "fork", "escape", "exit", "5");
    expect_end(kit, task, AH_TASK_FAILED, 5, 0);
    assert_int_equal(count_alive(kit->run), 3);
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

/* ---- timeout and kill ---- */

/* B4, B11: all descendants end, output so far stays. */
static void test_timeout_ends_the_whole_tree(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = default_options(kit);
    options.timeout = 0.5;
    struct ah_task *task =
        child_with(kit, options, "say", "before", "fork", "escape", "fork", "pause");
    expect_end(kit, task, AH_TASK_TIMEOUT, -1, SIGTERM);
    assert_int_equal(count_alive(kit->run), 0);
    assert_string_equal(output_of(task), "before\n");
    assert_non_null(strstr(state_of(task).reason, "time"));
    ah_task_unref(task);

    /* Nobody cares for TERM: KILL after the grace. */
    task = child_with(kit, options, "ignore", "fork", "escape", "say", "before", "pause");
    expect_end(kit, task, AH_TASK_TIMEOUT, -1, SIGKILL);
    assert_int_equal(count_alive(kit->run), 0);
    assert_true(state_of(task).seconds >= 0.7);
    assert_string_equal(output_of(task), "before\n");
    ah_task_unref(task);

    /* The leader ends at TERM, a grandchild does not: all the same. */
    task =
        run_with(kit, options,
                 (const char *const[]){"sh", "-c", CHILD " ignore escape fork pause & wait", NULL});
    expect_end(kit, task, AH_TASK_TIMEOUT, -1, SIGTERM);
    assert_int_equal(count_alive(kit->run), 0);
    ah_task_unref(task);

    /* One that ends in time is left alone. */
    options.timeout = 60;
    task = child_with(kit, options, "exit", "0");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    ah_task_unref(task);
    expect_notices(kit, 4);
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
    assert_int_equal(count_descriptors(supervisor), descriptors);
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
    struct ah_task *task = child_with(kit, options, "fork-flood", "exit", "0");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    await(count_alive(kit->run) == 0 && is_trimmed(task, 100000));
    ah_task_unref(task);

    /* One that has left its group, too; also when others end before and after it was adopted. */
    char fifo[200];
    snprintf(fifo, sizeof fifo, "%s/fifo", kit->dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    task = child_with(kit, options, "escape", "say", "yyyyyy", "drain", fifo, "escape-flood");
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
    static const char *const words[] = {
        "sh", "-c", "i=0; while [ $i -lt 500 ]; do echo yyyyyy; i=$((i+1)); done; sleep 300 &",
        NULL};
    struct ah_task *task = run_with(kit, options, words);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_true(is_trimmed(task, 1000));
    struct ah_task *other = child(kit, "sleep", "0.5"); /* longer than the output is looked at */
    expect_end(kit, other, AH_TASK_COMPLETED, 0, 0);
    assert_int_equal(count_alive(kit->run), 1);
    assert_true(is_trimmed(task, 1000));
    ah_task_unref(task);
    ah_task_unref(other);
}

/* ---- many ---- */

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
            /* Nobody drained, so each could be acknowledged: no notice is left. */
            expect_notices(kit, 0);
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
    ah_task_unref(task);

    task = child(kit, "exit", "0"); /* its notice is on the way: too late */
    await_end(kit, task);
    const struct ah_notice *notice = NULL;
    assert_int_equal(ah_queue_drain(kit->queue, &notice, 1), 1);
    assert_false(ah_task_acknowledge(task));
    ah_queue_ack(kit->queue, notice->seq);
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

/* ---- deaths ---- */

static void kill_supervisor(void)
{
    await(find_supervisor() != 0);
    assert_int_equal(kill(find_supervisor(), SIGKILL), 0);
}

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
    tasks[4] = shell(kit, "setsid " CHILD " pause & sleep 1000 & echo ready");
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

/* The host of the next test: this program with --host. */
static int be_host(const char *dir, const char *run)
{
    struct kit kit = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test fail */
    snprintf(kit.dir, sizeof kit.dir, "%s", dir);
    snprintf(kit.output_dir, sizeof kit.output_dir, "%s/host-tasks", dir);
    snprintf(kit.run, sizeof kit.run, "%s", run);
    assert_int_equal(ah_wake_new(&kit.wake), 0);
    assert_int_equal(ah_queue_new(kit.wake, &kit.queue), 0);
    new_runner(&kit, SUPERVISOR);
    struct ah_task *tasks[4];
    tasks[0] = child(&kit, "say", "ready", "pause");
    tasks[1] = child(&kit, "ignore", "fork", "escape", "say", "ready", "pause");
    tasks[2] = child(&kit, "fork", "escape", "say", "ready", "exit", "0");
    tasks[3] = child(&kit, "say", "ready", "fork-flood", "pause");
    for (int i = 0; i < 4; i++) {
        while (strstr(output_of(tasks[i]), "ready") == NULL) {
            nap();
        }
    }
    if (write(STDOUT_FILENO, "ready\n", 6) != 6) {
        return 1;
    }
    for (;;) {
        pause();
    }
}

/* B5 */
static void test_host_is_killed(void **state)
{
    struct kit *kit = *state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    char *argv[] = {(char *)"test_task", (char *)"--host", kit->dir, kit->run, NULL};
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char text[6];
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(poll(&fd, 1, (int)(PATIENCE / 1000000)), 1);
    assert_int_equal(read(ends[0], text, sizeof text), 6);
    assert_true(count_alive(kit->run) >= 8);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    await(count_alive(kit->run) == 0);
    close(ends[0]);
    char path[200];
    snprintf(path, sizeof path, "%s/host-tasks", kit->dir);
    remove_dir(path);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--host") == 0) {
        return be_host(argv[2], argv[3]);
    }
#define with_kit(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
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
        with_kit(test_timeout_ends_the_whole_tree),
        with_kit(test_one_term_only),
        with_kit(test_kill_in_every_state),
        with_kit(test_spawn_then_kill),
        with_kit(test_output_limit),
        with_kit(test_output_limit_of_leftovers),
        with_kit(test_quiet_leftover_of_a_trimmed_task),
        with_kit(test_max_running_keeps_the_order),
        with_kit(test_old_tasks_are_forgotten),
        with_kit(test_ends_at_the_same_instant),
        with_kit(test_acknowledge_and_notify_races),
        with_kit(test_acknowledge_and_notify),
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
