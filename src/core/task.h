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
#include "task_status.h"

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

/* The directory of tasks from now on; made (0700) with the next one. Needed before the first task.
 * Output files go to <path>/tasks/<id>.log, the ledger (ledger.h) is <path>/tasks.jsonl. */
int ah_runner_set_dir(struct ah_runner *runner, const char *path);

/* How many may run at once (>= 1); the others are queued in order. Default 64. */
void ah_runner_set_max_running(struct ah_runner *runner, size_t max);

struct ah_task_options {
    char **argv;            /* NULL at the end; found along its own PATH when it has no '/' */
    const char *command;    /* what people are shown */
    const char *label;      /* or NULL */
    const char *cwd;        /* an absolute path */
    char **env;             /* "NAME=value" sets, "NAME" unsets; NULL at the end; or NULL */
    double timeout;         /* seconds; 0: none */
    double grace;           /* seconds between TERM and KILL */
    uint64_t max_output;    /* bytes; 0: no limit, as for the next three */
    uint64_t max_memory;    /* bytes of address space of each of its processes */
    uint64_t max_cpu;       /* seconds of processor time of each of its processes */
    uint64_t max_files;     /* descriptors of each of its processes */
    int nice;               /* added to the niceness */
    bool detached;          /* goes on when the host ends; else it ends with it */
    bool with_stdin;        /* a pipe as stdin, for ah_task_write; else /dev/null */
    bool pty;               /* a terminal of its own (80 x 24), for ah_task_write */
    struct ah_queue *queue; /* where its end is told; a reference is taken; or NULL */
    bool notify;            /* whether it owes a notice; see ah_task_set_notify */
};

/* Everything in options is copied. Gives a reference to the new task. 0 or negative errno with a
 * message: -E2BIG (the command and its environment are too long), -ENOMEM, or what went wrong with
 * the output directory. What goes wrong later is an end with status `error`. */
int ah_task_run(struct ah_runner *runner, const struct ah_task_options *options,
                struct ah_task **ret_task, struct ah_err *err);

void ah_task_unref(struct ah_task *task); /* NULL is allowed */

struct ah_task_state {
    enum ah_task_status status;
    bool ended;
    int code;         /* exit code, or -1 when there is none */
    int signal;       /* that ended it, or 0 */
    char reason[256]; /* why: for killed, timeout, lost, error; else empty */
    pid_t pid;        /* 0 unless it runs */
    double started;   /* wall clock, seconds; when it was handed to ah_task_run */
    double seconds;   /* how long it has run, or ran */
    bool notify;
    bool detached;    /* goes on when the host ends */
    bool takes_input; /* stdin or a terminal: ah_task_write */
};

void ah_task_get_state(struct ah_task *task, struct ah_task_state *ret_state);

/* What does not change. Borrowed from the task. */
const char *ah_task_id(const struct ah_task *task); /* 8 hexadecimal digits */
const char *ah_task_command(const struct ah_task *task);
const char *ah_task_label(const struct ah_task *task); /* or NULL */
const char *ah_task_cwd(const struct ah_task *task);
const char *ah_task_output_path(const struct ah_task *task);
uint64_t ah_task_wake_id(const struct ah_task *task); /* posted when it starts and ends */

/* Ends it: TERM to its group (and CONT, for what is stopped), `grace` seconds, KILL. `by` says who,
 * for the reason. True when it had not ended; its end comes later, as always. */
bool ah_task_kill(struct ah_task *task, double grace, const char *by);

/* The same with another signal than TERM as the first one. */
bool ah_task_kill_with(struct ah_task *task, int signal, double grace, const char *by);

/* Whether its end is told by a notice. Turned on after the end, the notice is pushed at once. */
void ah_task_set_notify(struct ah_task *task, bool notify);

/* Its end is told by another queue from now on; a notice that stands in the queue before goes
 * along. False, with nothing changed, when there is nothing to tell: no notice is wanted, or it was
 * told.
 */
bool ah_task_set_queue(struct ah_task *task, struct ah_queue *queue);

/* The model is being told this end by other means (a tool's result): takes its notice out of the
 * queue into flight, as if it had been drained, or sees to it that none is pushed. True again when
 * it was true before. False when the task has not ended (then nothing changes) or when its notice
 * is in flight already. */
bool ah_task_acknowledge(struct ah_task *task);

/* Notes in the ledger that a message on disk holds the end of this task. Nothing when it owes no
 * notice. 0 or negative errno. */
int ah_task_delivered(struct ah_task *task);

/* Queues bytes for its stdin or terminal; `end` closes the stdin behind them. Gives how many of
 * them were taken: fewer than `len` when AH_LINK_FEED_MAX bytes wait for the command to read them;
 * then the wake id is posted when there is room. 0, -EPIPE (it has ended, or does not read any
 * more), -EINVAL (it has neither stdin nor terminal), -ENOMEM. */
int ah_task_write(struct ah_task *task, const void *data, size_t len, bool end, size_t *ret_taken);

/* A reference to the task with this id, or NULL. */
struct ah_task *ah_runner_find(struct ah_runner *runner, const char *id);

/* References to all tasks in the table, oldest first. The array is the caller's. 0 or -ENOMEM. */
int ah_runner_list(struct ah_runner *runner, struct ah_task ***ret_tasks, size_t *ret_count);
