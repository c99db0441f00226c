/* Tasks that outlive the host: they go on, their ends get into the ledger, and then the supervisor
 * leaves. */
#include "kit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static struct ah_task_options detached(struct kit *kit)
{
    struct ah_task_options options = default_options(kit);
    options.detached = true;
    return options;
}

/* A command that says "ready", waits until the file `go` is there, and exits with 3. */
static const char *waiting_script(const struct kit *kit)
{
    static char script[400];
    snprintf(script, sizeof script,
             "echo ready; until test -e '%s/go'; do sleep 0.02; done; echo done; exit 3", kit->dir);
    return script;
}

static void let_go(const struct kit *kit)
{
    char path[200];
    snprintf(path, sizeof path, "%s/go", kit->dir);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static bool has_ended(const struct kit *kit, const char *id)
{
    return strstr(records_of(kit->ledger, id), "end") != NULL;
}

/* Whether a process is there and no zombie. */
static bool lives(pid_t pid)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_some(path, text, sizeof text - 1) <= 0) {
        return false;
    }
    return strchr("ZX", strrchr(text, ')')[2]) == NULL;
}

/* The supervisor that stayed is our child (the runner did not wait for it). */
static void expect_supervisor_leaves(pid_t supervisor)
{
    int status = -1;
    await(waitpid(supervisor, &status, WNOHANG) == supervisor);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_outlives_the_runner(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = shell_with(kit, detached(kit), waiting_script(kit));
    struct ah_task *other = child(kit, "ignore", "fork", "escape", "say", "ready", "pause");
    await_output(task, "ready");
    await_output(other, "ready");
    char id[9];
    memcpy(id, ah_task_id(task), sizeof id);
    assert_non_null(strstr(ledger_of(kit->ledger, id), "\"detached\":true"));
    ah_task_unref(task);
    ah_task_unref(other);
    pid_t supervisor = find_supervisor();
    free_runner(kit);                             /* does not wait for it: it would be for ever */
    assert_in_range(count_alive(kit->run), 1, 2); /* the shell, and perhaps a sleep of it */
    assert_true(lives(supervisor));
    assert_false(has_ended(kit, id));
    let_go(kit);
    expect_supervisor_leaves(supervisor);
    assert_string_equal(records_of(kit->ledger, id), "queued start end");
    assert_non_null(strstr(ledger_of(kit->ledger, id), "\"status\":\"failed\",\"code\":3,"));
    assert_int_equal(count_alive(kit->run), 0);
}

/* The host of the next test. */
static void be_killed_host(const char *dir, const char *run)
{
    struct kit kit = {0};
    be_host(&kit, dir, run);
    struct ah_task *tasks[2];
    tasks[0] = shell_with(&kit, detached(&kit), waiting_script(&kit));
    tasks[1] = child(&kit, "ignore", "fork", "escape", "say", "ready", "pause");
    for (int i = 0; i < 2; i++) {
        await(strstr(output_of(tasks[i]), "ready") != NULL);
    }
    host_is_ready();
}

/* The id of the only task in the ledger whose record says this. */
static void find_id(const struct kit *kit, const char *what, char *ret_id)
{
    static char text[64 * 1024];
    assert_in_range(read_some(kit->ledger, text, sizeof text - 1), 1, sizeof text);
    char *line = NULL;
    for (char *at = strtok_r(text, "\n", &line); at != NULL; at = strtok_r(NULL, "\n", &line)) {
        if (strstr(at, what) != NULL) {
            assert_int_equal(sscanf(strstr(at, "\"task\":"), "\"task\":\"%8[0-9a-f]", ret_id), 1);
            return;
        }
    }
    fail_msg("no %s in the ledger", what);
}

static void test_outlives_a_killed_host(void **state)
{
    struct kit *kit = *state;
    char id[9];
    char other[9];
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* the supervisor becomes our child when its host dies */
    pid_t host = start_host(kit, "--host");
    find_id(kit, "\"detached\":true", id);
    find_id(kit, "\"detached\":false", other);
    pid_t supervisor = 0;
    assert_int_equal(find_children(host, &supervisor), 1);
    assert_int_equal(kill(host, SIGKILL), 0);
    assert_int_equal(waitpid(host, NULL, 0), host);
    await(has_ended(kit, other));
    assert_non_null(strstr(ledger_of(kit->ledger, other), "by the end of agenthost"));
    await(count_alive(kit->run) <= 2);
    assert_true(count_alive(kit->run) >= 1);
    assert_false(has_ended(kit, id));
    assert_true(lives(supervisor));
    let_go(kit);
    expect_supervisor_leaves(supervisor);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    assert_string_equal(records_of(kit->ledger, id), "queued start end");
    assert_non_null(strstr(ledger_of(kit->ledger, id), "\"status\":\"failed\",\"code\":3,"));
}

/* Its bounds hold without the host. */
static void test_bounds_without_the_host(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = detached(kit);
    char ids[2][9];
    options.timeout = 1.5;
    struct ah_task *slow = child_with(kit, options, "ignore", "fork", "say", "ready", "pause");
    options.timeout = 0;
    options.max_output = 100000;
    char script[1000];
    snprintf(script, sizeof script, "(%s); exec %s flood", waiting_script(kit), SH_CHILD);
    struct ah_task *flood = shell_with(kit, options, script);
    await_output(slow, "ready");
    await_output(flood, "ready");
    memcpy(ids[0], ah_task_id(slow), sizeof ids[0]);
    memcpy(ids[1], ah_task_id(flood), sizeof ids[1]);
    ah_task_unref(slow);
    ah_task_unref(flood);
    pid_t supervisor = find_supervisor();
    free_runner(kit);
    let_go(kit);
    expect_supervisor_leaves(supervisor);
    assert_non_null(strstr(ledger_of(kit->ledger, ids[0]), "\"status\":\"timeout\",\"signal\":9"));
    assert_non_null(strstr(ledger_of(kit->ledger, ids[1]), "\"reason\":\"output limit\""));
    assert_int_equal(count_alive(kit->run), 0);
}

/* With the runner there it is as any other: told, killed, acknowledged. */
static void test_with_the_host_as_any_other(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child_with(kit, detached(kit), "exit", "3");
    expect_end(kit, task, AH_TASK_FAILED, 3, 0);
    expect_notices(kit, 1);
    ah_task_unref(task);
    task = child_with(kit, detached(kit), "ignore", "fork", "escape", "say", "ready", "pause");
    await_output(task, "ready");
    ah_task_kill(task, 0, "test");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    expect_notices(kit, 1);
    assert_int_equal(count_alive(kit->run), 0);
    ah_task_unref(task);
    /* teardown: the supervisor has nothing to stay for */
}

/* What a detached command leaves in its group goes on, too; the supervisor stays with it. */
static void test_leftover(void **state)
{
    struct kit *kit = *state;
    char script[500];
    snprintf(script, sizeof script, "(%s) & exit 0", waiting_script(kit));
    struct ah_task *task = shell_with(kit, detached(kit), script);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    await(strstr(output_of(task), "ready") != NULL);
    char id[9];
    memcpy(id, ah_task_id(task), sizeof id);
    ah_task_unref(task);
    pid_t supervisor = find_supervisor();
    free_runner(kit);
    assert_true(count_alive(kit->run) >= 1);
    assert_true(lives(supervisor));
    let_go(kit);
    expect_supervisor_leaves(supervisor);
    assert_string_equal(records_of(kit->ledger, id), "queued start end");
    assert_int_equal(count_alive(kit->run), 0);
}

/* A detached command that makes a daemon of itself, in a session of its own, stays as well. */
static void test_leftover_that_has_escaped(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child_with(kit, detached(kit), "escape", "exit", "0");
    struct ah_task *other = child_with(kit, detached(kit), "escape", "pause"); /* leader lives */
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    await(count_alive(kit->run) == 3);
    ah_task_unref(task);
    ah_task_unref(other);
    pid_t supervisor = find_supervisor();
    free_runner(kit);
    int alive = count_alive(kit->run);
    assert_int_equal(kill(supervisor, SIGTERM), 0); /* already without a host: no effect */
    char script[200];
    snprintf(script, sizeof script,
             "for e in /proc/[0-9]*/environ; do grep -qs '%s=%s:' $e && "
             "p=${e#/proc/} && kill -9 ${p%%/*}; done",
             AH_LINK_MARKER, kit->run);
    assert_int_equal(system(script) == -1, 0);
    expect_supervisor_leaves(supervisor);
    assert_int_equal(alive, 3);
}

/* One that was queued and never started is not detached from anything: it ends with the host. */
static void test_queued_when_the_host_ends(void **state)
{
    struct kit *kit = *state;
    ah_runner_set_max_running(kit->runner, 1);
    struct ah_task *first = child(kit, "say", "ready", "pause");
    struct ah_task *queued = shell_with(kit, detached(kit), waiting_script(kit));
    await_output(first, "ready");
    assert_int_equal(state_of(queued).status, AH_TASK_QUEUED);
    ah_task_unref(first);
    ah_task_unref(queued);
    /* teardown: nothing is left, and it does not hang */
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--host") == 0) {
        be_killed_host(argv[2], argv[3]);
    }
    const struct CMUnitTest tests[] = {
        with_kit(test_outlives_the_runner),
        with_kit(test_outlives_a_killed_host),
        with_kit(test_bounds_without_the_host),
        with_kit(test_with_the_host_as_any_other),
        with_kit(test_leftover),
        with_kit(test_leftover_that_has_escaped),
        with_kit(test_queued_when_the_host_ends),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
