#include "kit.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

/* ---- looking at processes and files ---- */

size_t count_descriptors(pid_t pid)
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

ssize_t read_some(const char *path, char *data, size_t cap)
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

int count_alive(const char *run)
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

int find_children(pid_t of, pid_t *ret_pid)
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

pid_t find_supervisor(void)
{
    pid_t found = 0;
    find_children(getpid(), &found);
    return found;
}

const char *output_of(const struct ah_task *task)
{
    static char text[8192];
    ssize_t size = read_some(ah_task_output_path(task), text, sizeof text - 1);
    return size >= 0 ? text : "(no output file)";
}

void kill_supervisor(void)
{
    await(find_supervisor() != 0);
    assert_int_equal(kill(find_supervisor(), SIGKILL), 0);
}

void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* ---- a runner for each test ---- */

void kit_set_dir(struct kit *kit, const char *dir)
{
    snprintf(kit->dir, sizeof kit->dir, "%s", dir);
    snprintf(kit->output_dir, sizeof kit->output_dir, "%.127s/tasks", dir);
    snprintf(kit->ledger, sizeof kit->ledger, "%.127s/tasks.jsonl", dir);
}

void new_runner(struct kit *kit, const char *supervisor)
{
    struct ah_err err = {0};
    struct ah_runner_options options = {
        .wake = kit->wake, .supervisor_path = supervisor, .run = kit->run};
    if (ah_runner_new(&options, &kit->runner, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(ah_runner_set_dir(kit->runner, kit->dir), 0);
}

void free_runner(struct kit *kit)
{
    ah_runner_free(kit->runner);
    kit->runner = NULL;
}

int kit_setup(void **state)
{
    static int number;
    struct kit *kit = calloc(1, sizeof *kit);
    assert_non_null(kit);
    kit->descriptors = count_descriptors(getpid());
    snprintf(kit->run, sizeof kit->run, "test-%d-%d", (int)getpid(), ++number);
    char dir[] = "/tmp/ah-task-XXXXXX";
    assert_non_null(mkdtemp(dir));
    kit_set_dir(kit, dir);
    assert_int_equal(ah_wake_new(&kit->wake), 0);
    assert_int_equal(ah_queue_new(kit->wake, &kit->queue), 0);
    new_runner(kit, SUPERVISOR);
    *state = kit;
    return 0;
}

void remove_dir(const char *path)
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

int kit_teardown(void **state)
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

pid_t start_host(const struct kit *kit, const char *word)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    char *argv[] = {(char *)"host", (char *)word, (char *)kit->dir, (char *)kit->run, NULL};
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char text[6];
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(poll(&fd, 1, (int)(PATIENCE / 1000000)), 1);
    assert_int_equal(read(ends[0], text, sizeof text), 6);
    close(ends[0]);
    return pid;
}

void be_host(struct kit *kit, const char *dir, const char *run)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test fail */
    kit_set_dir(kit, dir);
    snprintf(kit->run, sizeof kit->run, "%s", run);
    assert_int_equal(ah_wake_new(&kit->wake), 0);
    assert_int_equal(ah_queue_new(kit->wake, &kit->queue), 0);
    new_runner(kit, SUPERVISOR);
}

void host_is_ready(void)
{
    if (write(STDOUT_FILENO, "ready\n", 6) != 6) {
        _exit(1);
    }
    for (;;) {
        pause();
    }
}

/* ---- running and waiting ---- */

struct ah_task_options default_options(struct kit *kit)
{
    return (struct ah_task_options){
        .command = "test", .cwd = kit->dir, .grace = 0.2, .queue = kit->queue, .notify = true};
}

struct ah_task *run_with(struct kit *kit, struct ah_task_options options, const char *const *argv)
{
    struct ah_task *task = NULL;
    struct ah_err err = {0};
    options.argv = (char **)argv;
    if (ah_task_run(kit->runner, &options, &task, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    return task;
}

struct ah_task_state state_of(struct ah_task *task)
{
    struct ah_task_state state;
    ah_task_get_state(task, &state);
    return state;
}

bool is_running(struct ah_task *task)
{
    return state_of(task).status == AH_TASK_RUNNING;
}

struct ah_task_state await_end(struct kit *kit, struct ah_task *task)
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

void await_output(struct ah_task *task, const char *text)
{
    int64_t deadline = ah_clock_now() + PATIENCE;
    while (strstr(output_of(task), text) == NULL) {
        if (ah_clock_now() > deadline || state_of(task).ended) {
            fail_msg("no '%s' in '%s'", text, output_of(task));
        }
        nap();
    }
}

void expect_error(struct kit *kit, struct ah_task *task, const char *reason)
{
    expect_end(kit, task, AH_TASK_ERROR, -1, 0);
    if (strstr(state_of(task).reason, reason) == NULL) {
        fail_msg("'%s' is not in '%s'", reason, state_of(task).reason);
    }
    expect_notices(kit, 1);
    ah_task_unref(task);
}

/* ---- notices and the ledger ---- */

const struct ah_field *field_of(const struct ah_notice *notice, const char *name)
{
    for (size_t i = 0; i < notice->count; i++) {
        if (strcmp(notice->fields[i].name, name) == 0) {
            return &notice->fields[i];
        }
    }
    return NULL;
}

const char *text_of(const struct ah_notice *notice, const char *name)
{
    const struct ah_field *field = field_of(notice, name);
    return field != NULL && field->type == AH_FIELD_TEXT ? field->as.text.data : "(none)";
}

size_t acknowledge(struct kit *kit, uint64_t seq)
{
    size_t count = 0;
    for (struct ah_notice *notice = ah_queue_ack(kit->queue, seq); notice != NULL; count++) {
        struct ah_notice *next = notice->next;
        ah_notice_free(notice);
        notice = next;
    }
    return count;
}

void expect_notices(struct kit *kit, size_t count)
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
        assert_int_equal(acknowledge(kit, notices[count - 1]->seq), count);
    }
}
const char *ledger_of(const char *path, const char *id)
{
    static char text[512 * 1024];
    static char found[512 * 1024];
    char member[32];
    size_t len = 0;
    assert_in_range(read_some(path, text, sizeof text - 1) + 1, 1, sizeof text - 1);
    snprintf(member, sizeof member, "\"task\":\"%s\"", id);
    for (char *at = text; *at != '\0';) {
        size_t line = strcspn(at, "\n");
        if (at[line] == '\0') {
            break; /* it is being written */
        }
        at[line] = '\0';
        if (strstr(at, member) != NULL) {
            memcpy(found + len, at, line);
            len += line;
            found[len++] = '\n';
        }
        at += line + 1;
    }
    found[len] = '\0';
    return found;
}

const char *records_of(const char *path, const char *id)
{
    static char types[4096];
    size_t len = 0;
    types[0] = '\0';
    for (const char *at = ledger_of(path, id); *at != '\0'; at = strchr(at, '\n') + 1) {
        char type[32];
        assert_int_equal(sscanf(at, "{\"type\":\"%31[a-z]\"", type), 1);
        len += (size_t)snprintf(types + len, sizeof types - len, "%s%s", len > 0 ? " " : "", type);
        assert_in_range(len, 1, sizeof types - 1);
    }
    return types;
}
