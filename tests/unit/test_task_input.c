/* Feeding a command: a pipe as stdin, a terminal of its own, and back-pressure on both. */
#include "kit.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

static struct ah_task_options with_stdin(struct kit *kit)
{
    struct ah_task_options options = default_options(kit);
    options.with_stdin = true;
    return options;
}

static struct ah_task_options with_pty(struct kit *kit)
{
    struct ah_task_options options = default_options(kit);
    options.pty = true;
    return options;
}

/* Waits for news of any task. */
static void sleep_on_wake(struct kit *kit)
{
    struct pollfd fd = {.fd = ah_wake_fd(kit->wake), .events = POLLIN};
    uint64_t ids[64];
    bool all;
    assert_int_equal(poll(&fd, 1, (int)(PATIENCE / 1000000)), 1);
    ah_wake_take(kit->wake, ids, 64, &all);
}

/* Writes all of it, as the host does: when nothing is taken it waits for the wake. */
static void write_all(struct kit *kit, struct ah_task *task, const char *data, size_t len, bool end)
{
    size_t taken = 0;
    do {
        size_t now = 12345678;
        assert_int_equal(ah_task_write(task, data + taken, len - taken, end, &now), 0);
        assert_true(now <= len - taken);
        taken += now;
        if (taken < len) {
            sleep_on_wake(kit);
        }
    } while (taken < len);
}

static void write_text(struct kit *kit, struct ah_task *task, const char *text, bool end)
{
    write_all(kit, task, text, strlen(text), end);
}

static int try_write(struct ah_task *task, const char *text)
{
    size_t taken = 0;
    return ah_task_write(task, text, strlen(text), false, &taken);
}

static char *make_bytes(size_t size)
{
    char *bytes = malloc(size);
    assert_non_null(bytes);
    uint32_t seed = 7;
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (char)(seed >> 24);
    }
    return bytes;
}

static void expect_output(const struct ah_task *task, const char *bytes, size_t size)
{
    char *output = malloc(size + 1);
    assert_non_null(output);
    assert_int_equal(read_some(ah_task_output_path(task), output, size), size);
    assert_memory_equal(output, bytes, size);
    free(output);
}

static void test_round_trip(void **state)
{
    struct kit *kit = *state;
    enum { SIZE = 5 * 1024 * 1024 + 3 };
    char *bytes = make_bytes(SIZE);
    struct ah_task *task = shell_with(kit, with_stdin(kit), "exec cat");
    write_all(kit, task, bytes, SIZE, true);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    expect_output(task, bytes, SIZE);
    assert_int_equal(try_write(task, "x"), -EPIPE);
    ah_task_unref(task);
    free(bytes);
}

/* Line by line, as with an interpreter; then its end of file. */
static void test_conversation(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = shell_with(
        kit, with_stdin(kit), "while read line; do echo \"got $line\"; done; echo over; exit 5");
    char line[32];
    for (int i = 0; i < 20; i++) {
        snprintf(line, sizeof line, "line %d\n", i);
        write_text(kit, task, line, false);
        snprintf(line, sizeof line, "got line %d\n", i);
        await_output(task, line);
    }
    write_text(kit, task, "", true);
    expect_end(kit, task, AH_TASK_FAILED, 5, 0);
    assert_non_null(strstr(output_of(task), "over\n"));
    ah_task_unref(task);
}

static void test_close(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child_with(kit, with_stdin(kit), "read");
    write_text(kit, task, "", true);                /* at once: 0 bytes */
    assert_int_equal(try_write(task, "x"), -EPIPE); /* behind the end nothing comes */
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "0 bytes\n");
    ah_task_unref(task);

    task = child_with(kit, with_stdin(kit), "read");
    write_text(kit, task, "a\0b", false);
    write_all(kit, task, "\0\xff\n", 3, true);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "4 bytes\n");
    ah_task_unref(task);

    /* Without an end the command waits: also for who has started another in between. */
    task = child_with(kit, with_stdin(kit), "read");
    struct ah_task *other = child_with(kit, with_stdin(kit), "fork", "pause");
    await(is_running(other));
    write_text(kit, task, "abc", true);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    ah_task_kill(other, 0, "test");
    await_end(kit, other);
    ah_task_unref(task);
    ah_task_unref(other);
}

static void test_writes_before_the_start(void **state)
{
    struct kit *kit = *state;
    ah_runner_set_max_running(kit->runner, 1);
    struct ah_task *first = child(kit, "say", "ready", "pause");
    await_output(first, "ready");
    struct ah_task *tasks[2] = {child_with(kit, with_stdin(kit), "read"),
                                shell_with(kit, with_pty(kit), "stty -echo; cat")};
    write_text(kit, tasks[0], "early ", false);
    write_text(kit, tasks[0], "bird", true);
    assert_int_equal(state_of(tasks[0]).status, AH_TASK_QUEUED);
    write_text(kit, tasks[1], "early\n", false);
    write_text(kit, tasks[1], "", true);
    ah_task_kill(first, 0, "test");
    expect_end(kit, tasks[0], AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(tasks[0]), "10 bytes\n");
    expect_end(kit, tasks[1], AH_TASK_COMPLETED, 0, 0);
    assert_non_null(strstr(output_of(tasks[1]), "early\r\n"));
    ah_task_unref(first);
    ah_task_unref(tasks[0]);
    ah_task_unref(tasks[1]);

    /* Killed before it was started: what was written goes with it. */
    first = child(kit, "say", "ready", "pause");
    await_output(first, "ready");
    struct ah_task *queued = child_with(kit, with_stdin(kit), "read");
    write_text(kit, queued, "lost", false);
    ah_task_kill(queued, 0, "test");
    assert_int_equal(try_write(queued, "x"), -EPIPE);
    ah_task_kill(first, 0, "test");
    await_end(kit, first);
    ah_task_unref(first);
    ah_task_unref(queued);
}

/* Nobody reads: a bounded amount is taken, nothing else stalls, and reading makes room again. */
static void test_command_that_does_not_read(void **state)
{
    struct kit *kit = *state;
    enum { SIZE = 3 * AH_LINK_FEED_MAX };
    char *bytes = make_bytes(SIZE);
    char fifo[200];
    char script[300];
    snprintf(fifo, sizeof fifo, "%s/go", kit->dir);
    snprintf(script, sizeof script, "echo ready; until test -e '%s'; do sleep 0.01; done; exec cat",
             fifo);
    struct ah_task *task = shell_with(kit, with_stdin(kit), script);
    await_output(task, "ready");
    size_t total = 0;
    size_t taken = 1;
    int idle = 0;
    while (idle < 20) { /* until no more is taken for a while */
        assert_int_equal(ah_task_write(task, bytes + total, SIZE - total, false, &taken), 0);
        total += taken;
        idle = taken == 0 ? idle + 1 : 0;
        nap();
    }
    assert_in_range(total, AH_LINK_FEED_MAX, AH_LINK_FEED_MAX + 2 * 65536);
    struct ah_task *other = child(kit, "exit", "0");
    expect_end(kit, other, AH_TASK_COMPLETED, 0, 0);
    ah_task_unref(other);
    close(open(fifo, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    write_all(kit, task, bytes + total, SIZE - total, true);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    char *output = malloc(SIZE + 7);
    assert_non_null(output);
    assert_int_equal(read_some(ah_task_output_path(task), output, SIZE + 6), SIZE + 6);
    assert_memory_equal(output, "ready\n", 6);
    assert_memory_equal(output + 6, bytes, SIZE);
    free(output);
    ah_task_unref(task);

    /* Full to the brim, it still can be killed. */
    task = child_with(kit, with_stdin(kit), "say", "ready", "pause");
    await_output(task, "ready");
    assert_int_equal(ah_task_write(task, bytes, SIZE, false, &taken), 0);
    assert_int_equal(taken, AH_LINK_FEED_MAX);
    ah_task_kill(task, 0, "test");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    assert_int_equal(try_write(task, "x"), -EPIPE);
    ah_task_unref(task);
    free(bytes);
}

/* It closes its stdin and goes on: writing fails sooner or later, and the task is left alone. */
static void test_command_that_closes_its_stdin(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = shell_with(kit, with_stdin(kit), "exec <&-; echo ready; exec sleep 300");
    await_output(task, "ready");
    int rc = 0;
    await((rc = try_write(task, "x")) != 0);
    assert_int_equal(rc, -EPIPE);
    assert_true(is_running(task));
    size_t taken = 0;
    assert_int_equal(ah_task_write(task, "", 0, true, &taken), -EPIPE);
    ah_task_kill(task, 0, "test");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    ah_task_unref(task);

    /* It ends without having read what waits for it. */
    enum { SIZE = AH_LINK_FEED_MAX };
    char *bytes = make_bytes(SIZE);
    task = child_with(kit, with_stdin(kit), "exit", "6");
    (void)ah_task_write(task, bytes, SIZE, true, &taken);
    expect_end(kit, task, AH_TASK_FAILED, 6, 0);
    free(bytes);
    ah_task_unref(task);
}

static void test_wrong_tasks(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "read");
    size_t taken = 7;
    assert_int_equal(ah_task_write(task, "x", 1, false, &taken), -EINVAL);
    assert_int_equal(taken, 7);
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "0 bytes\n");
    assert_int_equal(try_write(task, "x"), -EINVAL);
    ah_task_unref(task);
    task = shell_with(kit, with_stdin(kit), "exit 0");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_int_equal(try_write(task, "x"), -EPIPE);
    ah_task_unref(task);
    task = shell_with(kit, with_stdin(kit), "exec cat");
    await(is_running(task));
    kill_supervisor();
    expect_end(kit, task, AH_TASK_LOST, -1, 0);
    assert_int_equal(try_write(task, "x"), -EPIPE);
    ah_task_unref(task);
    await(count_alive(kit->run) == 0);
}

struct writer {
    struct ah_task *task;
    int count;
};

static void *write_lines(void *argument)
{
    struct writer *writer = argument;
    for (int i = 0; i < writer->count;) {
        size_t taken = 0;
        if (ah_task_write(writer->task, "abcdefg\n", 8, false, &taken) != 0) {
            return writer;
        }
        while (taken > 0 && taken < 8) { /* cut: the rest has to follow */
            size_t more = 0;
            if (ah_task_write(writer->task, &"abcdefg\n"[taken], 8 - taken, false, &more) != 0) {
                return writer;
            }
            taken += more;
        }
        i += taken > 0 ? 1 : 0;
    }
    return NULL;
}

/* Threads feed a command each; all of one place at once. */
static void test_many_writers(void **state)
{
    struct kit *kit = *state;
    enum { WRITERS = 8, LINES = 20000 };
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] =
            (struct writer){.task = child_with(kit, with_stdin(kit), "read"), .count = LINES};
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
        write_text(kit, writers[i].task, "", true);
        expect_end(kit, writers[i].task, AH_TASK_COMPLETED, 0, 0);
        assert_string_equal(output_of(writers[i].task), "160000 bytes\n");
        ah_task_unref(writers[i].task);
    }
}

/* ---- a terminal ---- */

static void test_pty(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = shell_with(kit, with_pty(kit),
                                      "test -t 0 && test -t 1 && test -t 2 && echo all; stty size; "
                                      ": < /dev/tty && echo own");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "all\r\n24 80\r\nown\r\n");
    ah_task_unref(task);

    task = child_with(kit, with_pty(kit), "tty", "ids", "fds", "exit", "4");
    expect_end(kit, task, AH_TASK_FAILED, 4, 0);
    int pid, session, group, parent;
    assert_int_equal(
        sscanf(output_of(task), "tty: opened\r\n%d %d %d %d", &pid, &session, &group, &parent), 4);
    assert_true(pid == session && pid == group && parent == find_supervisor());
    assert_non_null(strstr(output_of(task), "\r\n0\r\n1\r\n2\r\n"));
    assert_null(strstr(output_of(task), "\r\n3\r\n"));
    ah_task_unref(task);
}

static void test_pty_input(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task =
        shell_with(kit, with_pty(kit),
                   "stty -echo; echo ready; read line; echo \"got $line\"; cat; echo over");
    await_output(task, "ready");
    write_text(kit, task, "one\n", false);
    await_output(task, "got one");
    write_text(kit, task, "two\nthree\n", false);
    await_output(task, "three");
    write_text(kit, task, "", true); /* Ctrl-D */
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "ready\r\ngot one\r\ntwo\r\nthree\r\nover\r\n");
    ah_task_unref(task);

    task = shell_with(kit, with_pty(kit), "echo ready; exec sleep 300"); /* Ctrl-C */
    await_output(task, "ready");
    write_text(kit, task, "\003", false);
    expect_end(kit, task, AH_TASK_FAILED, -1, SIGINT);
    ah_task_unref(task);

    task = child_with(kit, with_pty(kit), "say", "ready", "pause");
    await_output(task, "ready");
    ah_task_kill(task, 1, "test");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGTERM);
    ah_task_unref(task);
}

/* All that was printed is in the file when the end is told. */
static void test_pty_output_is_complete(void **state)
{
    struct kit *kit = *state;
    for (int round = 0; round < 30; round++) {
        struct ah_task *task = shell_with(kit, with_pty(kit),
                                          "i=0; while [ $i -lt 300 ]; do echo \"line $i\"; "
                                          "i=$((i+1)); done; echo last");
        expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
        static char text[8192];
        ssize_t size = read_some(ah_task_output_path(task), text, sizeof text - 1);
        assert_int_equal(size, 10 * 8 + 90 * 9 + 200 * 10 + 6);
        assert_string_equal(text + size - 6, "last\r\n");
        ah_task_unref(task);
    }
    /* More than a terminal holds. */
    struct ah_task *task = shell_with(kit, with_pty(kit), "head -c 1000000 /dev/zero; echo last");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    char text[2];
    assert_int_equal(read_some(ah_task_output_path(task), text, 1), 1000006);
    ah_task_unref(task);
}

static void test_pty_output_limit(void **state)
{
    struct kit *kit = *state;
    struct ah_task_options options = with_pty(kit);
    options.max_output = 100000;
    struct ah_task *task = child_with(kit, options, "flood");
    expect_end(kit, task, AH_TASK_KILLED, -1, SIGKILL);
    assert_string_equal(state_of(task).reason, "output limit");
    static char text[200000];
    ssize_t size = read_some(ah_task_output_path(task), text, sizeof text - 1);
    assert_in_range(size, 100000, 100200);
    assert_non_null(strstr(text, "bytes left out"));
    ah_task_unref(task);
}

/* What the command leaves in the background does not delay the end, and has no terminal then. */
static void test_pty_leftovers(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = shell_with(kit, with_pty(kit), "setsid sleep 300 & echo hi");
    expect_end(kit, task, AH_TASK_COMPLETED, 0, 0);
    assert_string_equal(output_of(task), "hi\r\n");
    ah_task_unref(task);
}

static void test_output_file_cannot_be_made(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "exit", "0");
    await_end(kit, task);
    ah_task_unref(task);
    expect_notices(kit, 1);
    remove_dir(kit->output_dir);
    expect_error(kit, child_with(kit, with_pty(kit), "say", "x", "exit", "0"),
                 "cannot open its input or the output file");
    expect_error(kit, child_with(kit, with_stdin(kit), "say", "x", "exit", "0"),
                 "cannot open its input or the output file");
}

/* No descriptor of a stream stays with the supervisor. */
static void test_descriptors(void **state)
{
    struct kit *kit = *state;
    struct ah_task *task = child(kit, "exit", "0");
    await_end(kit, task);
    ah_task_unref(task);
    size_t before = count_descriptors(find_supervisor());
    for (int i = 0; i < 60; i++) {
        task = i % 3 == 0   ? child_with(kit, with_stdin(kit), "exit", "0")
               : i % 3 == 1 ? child_with(kit, with_pty(kit), "exit", "0")
                            : child_with(kit, with_stdin(kit), "read");
        if (i % 3 == 2) {
            write_text(kit, task, "x", true);
        }
        await_end(kit, task);
        ah_task_unref(task);
    }
    await(count_descriptors(find_supervisor()) == before);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        with_kit(test_round_trip),
        with_kit(test_conversation),
        with_kit(test_close),
        with_kit(test_writes_before_the_start),
        with_kit(test_command_that_does_not_read),
        with_kit(test_command_that_closes_its_stdin),
        with_kit(test_wrong_tasks),
        with_kit(test_many_writers),
        with_kit(test_pty),
        with_kit(test_pty_input),
        with_kit(test_pty_output_is_complete),
        with_kit(test_pty_output_limit),
        with_kit(test_pty_leftovers),
        with_kit(test_output_file_cannot_be_made),
        with_kit(test_descriptors),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
