/*
 * The task runner: commands that run in the background.
 *
 * Life of a task:
 *   1. ah_task_run makes it `queued` and returns at once; nothing has been forked yet.
 *   2. The runner thread hands it to the supervisor as soon as fewer than the allowed number run:
 *      `running`. The command writes stdout and stderr straight to its output file.
 *   3. It ends: completed, failed, timeout, killed, lost or error. In one step (under one lock) the
 *      status changes and the notice goes into the task's queue, if it owes one.
 *   4. It stays in the table, so that it can be asked for by id, until AH_TASKS_KEPT younger ones
 *      have ended, too. The output file stays.
 *
 * The process that forks is the supervisor (superlink.h); this side never does. When it dies its
 * tasks are `lost`, and another one is started at once, which ends what they have left.
 *
 * Thread-safe. Lock order: the runner's lock, then the locks of queue and wake, which are leaves.
 */
#pragma once

#include "err.h"
#include "queue.h"

#include <sys/types.h>

struct ah_runner;
struct ah_task;

#define AH_TASKS_KEPT 10000

struct ah_runner_options {
    struct ah_wake *wake;        /* borrowed; outlives the runner */
    const char *supervisor_path; /* of the executable */
    const char *run;             /* a name for this host that no other has: [0-9A-Za-z-], <= 100 */
};

/* Thread and supervisor are started with the first task. */
int ah_runner_new(const struct ah_runner_options *options, struct ah_runner **ret_runner,
                  struct ah_err *err);

/* Ends all tasks and the supervisor (TERM, 2 s, KILL; in all at most about 5 s) and frees the
 * runner. Every reference to a task has to be given back before. NULL is allowed. */
void ah_runner_free(struct ah_runner *runner);

/* Where the output files go; made (0700) with the first task. Needed before the first task. */
int ah_runner_set_output_dir(struct ah_runner *runner, const char *path);

/* How many may run at once (>= 1); the others are queued in order. Default 64. */
void ah_runner_set_max_running(struct ah_runner *runner, size_t max);

struct ah_task_options {
    char **argv;         /* NULL at the end; found along its own PATH when it has no '/' */
    const char *command; /* what people are shown */
    const char *label;   /* or NULL */
    const char *cwd;     /* an absolute path */
    char **env;          /* "NAME=value" sets, "NAME" unsets; NULL at the end; or NULL */
    double timeout;      /* seconds; 0: none */
    double grace;        /* seconds between TERM and KILL */
    uint64_t max_output; /* bytes; 0: no limit */
    struct ah_queue *queue; /* where its end is told; a reference is taken; or NULL */
    bool notify;         /* whether it owes a notice; see ah_task_set_notify */
};

/* Everything in options is copied. Gives a reference to the new task. 0 or negative errno with a
 * message: -E2BIG (the command and its environment are too long), -ENOMEM, or what went wrong with
 * the output directory. What goes wrong later is an end with status `error`. */
int ah_task_run(struct ah_runner *runner, const struct ah_task_options *options,
                struct ah_task **ret_task, struct ah_err *err);

struct ah_task *ah_task_ref(struct ah_task *task);
void ah_task_unref(struct ah_task *task); /* NULL is allowed */

enum ah_task_status {
    AH_TASK_QUEUED,
    AH_TASK_RUNNING,
    AH_TASK_COMPLETED, /* code 0 */
    AH_TASK_FAILED,    /* another code, or a signal that nobody here has sent */
    AH_TASK_TIMEOUT,
    AH_TASK_KILLED,
    AH_TASK_LOST,
    AH_TASK_ERROR,
};

/* "queued", "running", ... */
const char *ah_task_status_name(enum ah_task_status status);

struct ah_task_state {
    enum ah_task_status status;
    bool ended;
    int code;          /* exit code, or -1 when there is none */
    int signal;        /* that ended it, or 0 */
    char reason[256];  /* why: for killed, timeout, lost, error; else empty */
    pid_t pid;         /* 0 unless it runs */
    double started;    /* wall clock, seconds; when it was handed to ah_task_run */
    double seconds;    /* how long it has run, or ran */
    bool notify;
};

void ah_task_get_state(struct ah_task *task, struct ah_task_state *ret_state);

/* What does not change. Borrowed from the task. */
const char *ah_task_id(const struct ah_task *task); /* 8 hexadecimal digits */
const char *ah_task_command(const struct ah_task *task);
const char *ah_task_label(const struct ah_task *task); /* or NULL */
const char *ah_task_cwd(const struct ah_task *task);
const char *ah_task_output_path(const struct ah_task *task);
uint64_t ah_task_wake_id(const struct ah_task *task); /* posted when it starts and ends */

/* Ends it: TERM to its group, `grace` seconds, KILL. `by` says who, for the reason. True when it had
 * not ended; its end comes later, as always. */
bool ah_task_kill(struct ah_task *task, double grace, const char *by);

/* Whether its end is told by a notice. Turned on after the end, the notice is pushed at once. */
void ah_task_set_notify(struct ah_task *task, bool notify);

/* The model has been told this end by other means: takes its notice out of the queue, or sees to it
 * that none is pushed. True again when it was true before. False when the task has not ended (then
 * nothing changes) or when its notice is on its way already. */
bool ah_task_acknowledge(struct ah_task *task);

/* A reference to the task with this id, or NULL. */
struct ah_task *ah_runner_find(struct ah_runner *runner, const char *id);

/* References to all tasks in the table, oldest first. The array is the caller's. 0 or -ENOMEM. */
int ah_runner_list(struct ah_runner *runner, struct ah_task ***ret_tasks, size_t *ret_count);
