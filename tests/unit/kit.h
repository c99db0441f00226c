/*
 * What the tests of the task runner share. Each test has a runner of its own (struct kit), with the
 * real supervisor and real processes. Its teardown frees it and then looks for what should not be
 * there: processes with the runner's marker, children, descriptors.
 */
#pragma once

#include "core/clock.h"
#include "core/superlink.h"
#include "core/task.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#define CHILD AH_BUILD_DIR "/fixture_child"
#define SH_CHILD "'" CHILD "'" /* in a shell's script */
#define SUPERVISOR AH_BUILD_DIR "/agenthost-supervisor"
#define SECOND 1000000000LL
#define PATIENCE (30 * SECOND) /* for what is certain to come */

struct kit {
    struct ah_wake *wake;
    struct ah_queue *queue;
    struct ah_runner *runner;
    char run[64];
    char dir[128]; /* of the runner, and where commands run */
    char output_dir[160];
    char ledger[160];
    size_t descriptors; /* before all */
};

/* ---- looking at processes and files ---- */

size_t count_descriptors(pid_t pid);

/* Up to `cap` bytes of a file and a NUL; the file's size, or -1. */
ssize_t read_some(const char *path, char *data, size_t cap);

/* How many living processes carry the marker of this run. */
int count_alive(const char *run);

/* Children of a process, zombies included; one of them that lives in *ret_pid. */
int find_children(pid_t of, pid_t *ret_pid);

/* The supervisor: the only child of this process; 0 when there is none. */
pid_t find_supervisor(void);

void kill_supervisor(void);

/* The bytes of a small output file as text. Valid until the next call. */
const char *output_of(const struct ah_task *task);

void remove_dir(const char *path);

void nap(void);

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

int kit_setup(void **state);
int kit_teardown(void **state);
#define with_kit(test) cmocka_unit_test_setup_teardown(test, kit_setup, kit_teardown)

/* Names the place of a kit; for a program that is the host of a test. */
void kit_set_dir(struct kit *kit, const char *dir);
void new_runner(struct kit *kit, const char *supervisor);
void free_runner(struct kit *kit);

/* This program again as a host of its own, with `word`, the kit's directory and its run as
 * arguments. Waits until it has said that it is ready; its pid. */
pid_t start_host(const struct kit *kit, const char *word);

/* What such a program starts with, and says when it is ready; then it waits to be killed. */
void be_host(struct kit *kit, const char *dir, const char *run);
void host_is_ready(void) __attribute__((noreturn));

/* ---- running and waiting ---- */

struct ah_task_options default_options(struct kit *kit);
struct ah_task *run_with(struct kit *kit, struct ah_task_options options, const char *const *argv);

/* The fixture with words, for example child_with(kit, options, "say", "hi", "exit", "3"). */
#define child_with(kit, options, ...) \
    run_with(kit, options, (const char *const[]){CHILD, __VA_ARGS__, NULL})
#define child(kit, ...) child_with(kit, default_options(kit), __VA_ARGS__)
#define shell_with(kit, options, script) \
    run_with(kit, options, (const char *const[]){"sh", "-c", script, NULL})
#define shell(kit, script) shell_with(kit, default_options(kit), script)

struct ah_task_state state_of(struct ah_task *task);
bool is_running(struct ah_task *task);

/* Sleeps on the wake, as the host does, so that a missing post is a failure. */
struct ah_task_state await_end(struct kit *kit, struct ah_task *task);
void await_output(struct ah_task *task, const char *text);

#define expect_end(kit, task, wanted_status, wanted_code, wanted_signal) \
    do {                                                                 \
        struct ah_task_state expect_state = await_end(kit, task);        \
        assert_string_equal(ah_task_status_name(expect_state.status),    \
                            ah_task_status_name(wanted_status));         \
        assert_int_equal(expect_state.code, wanted_code);                \
        assert_int_equal(expect_state.signal, wanted_signal);            \
        assert_int_equal(expect_state.pid, 0);                           \
    } while (0)

/* Its end is an error whose reason holds this text, and is told. Gives the reference back. */
void expect_error(struct kit *kit, struct ah_task *task, const char *reason);

/* ---- notices and the ledger ---- */

const struct ah_field *field_of(const struct ah_notice *notice, const char *name);
const char *text_of(const struct ah_notice *notice, const char *name);

/* Acknowledges what is in flight up to seq; how many. */
size_t acknowledge(struct kit *kit, uint64_t seq);

/* Drains all, checks that there are `count` of different tasks, and acknowledges them. */
void expect_notices(struct kit *kit, size_t count);

/* The lines of a ledger that are about a task, as one text. Valid until the next call. */
const char *ledger_of(const char *path, const char *id);

/* The types of its records in order, as "start end delivered". Valid until the next call. */
const char *records_of(const char *path, const char *id);
