/*
 * What task.c (the table and the tasks in it), task_notice.c (telling their ends), task_ledger.c
 * (noting what the supervisor cannot) and runner.c (the thread and the supervisor) share.
 * Not for anybody else.
 */
#pragma once

#include "buf.h"
#include "superlink.h"
#include "task.h"

#include <pthread.h>

#define AH_TASK_BUCKETS 4096

struct ah_task {
    struct ah_runner *runner;
    unsigned refs;
    uint32_t number; /* the id as a number; the supervisor knows the task by it */
    char id[9];
    char *command;
    char *label;
    char *cwd;
    char *output;
    struct ah_queue *queue;
    uint64_t wake_id;
    struct ah_buf packet; /* the order; emptied when it is sent */
    bool sent;
    char *ledger;      /* path of the ledger that holds it */
    bool input_broken; /* it does not read any more */
    bool input_ended;
    size_t input_waits;  /* bytes handed to the supervisor and not reported written */
    struct ah_buf input; /* bytes to be handed to it */
    bool input_end_wanted;
    bool kill_wanted; /* a KILL order has to be sent */
    uint32_t kill_signal;
    int64_t kill_grace_ns;
    char killed_by[64];
    struct ah_task_state state;
    int64_t started_ns;
    bool told;             /* no notice is owed (any more) */
    bool delivered;        /* its notice was acknowledged */
    bool notice_owed;      /* there was no memory for it: tried again */
    uint64_t notice_seq;   /* 0: none pushed */
    struct ah_task *older; /* the table, by age */
    struct ah_task *younger;
    struct ah_task *next_bucket; /* the table, by number */
};

struct ah_runner {
    struct ah_wake *wake;
    char *supervisor_path;
    char *run;
    pthread_t thread;
    int event_fd;         /* there is something to do for the thread */
    pthread_mutex_t lock; /* protects the tasks and all below down to the thread's own */
    char *dir;            /* of tasks to come */
    bool dir_made;
    bool thread_started;
    bool stopping;
    size_t max_running;
    size_t queued;  /* not yet sent to the supervisor */
    size_t running; /* sent, and not ended */
    size_t ended;
    size_t owed; /* notices that there was no memory for */
    bool kills_wanted;
    bool inputs_wanted; /* some task has bytes to be handed over */
    int ledger_fd;      /* of the ledger at ledger_path; -1: none. For what the host itself notes */
    char *ledger_path;
    bool ledger_dirty; /* ends were noted since the last fsync */
    struct ah_task *oldest;
    struct ah_task *youngest;
    struct ah_task *next_queued; /* no older one waits to be sent; NULL: look from the oldest */
    struct ah_task *buckets[AH_TASK_BUCKETS];
    /* the thread's own */
    pid_t supervisor; /* 0: none runs */
    int link;         /* our end of its socket, or -1 */
    char *packet;     /* where one is received */
    bool sweep;       /* an earlier supervisor has died: the next one ends what it has left */
    int deaths;       /* of supervisors, since first_death */
    int64_t first_death;
};

/* The functions that end in _locked are called with the runner's lock held. */

struct ah_task *ah_task_find_locked(struct ah_runner *runner, uint64_t number);

/* Ends a task: status and notice in one step. Nothing happens when it has ended already. */
void ah_task_end_locked(struct ah_task *task, enum ah_task_status status, int code, int signal,
                        const char *reason);

/* Ends a task that the supervisor cannot report: it never got it, or died with it. Noted in the
 * ledger first. */
void ah_task_end_here_locked(struct ah_task *task, enum ah_task_status status, const char *reason);

/* Appends to the ledger of a task what the supervisor cannot: the end of one that it never got or
 * that died with it; a mark (`type` of ah_ledger_add_mark). 0 or negative errno. */
int ah_task_note_queued_locked(struct ah_task *task);
int ah_task_note_end_locked(struct ah_task *task);
int ah_task_note_mark_locked(struct ah_task *task, const char *type);

/* The ledger of a task has got an end, from whomever: to be synced at the next quiet moment. */
void ah_task_note_dirty_locked(struct ah_task *task);

/* Pushes the notice of an ended task, when it owes one. */
void ah_task_notify_locked(struct ah_task *task);

/* Tries again to push notices that there was no memory for. */
void ah_task_retry_notices_locked(struct ah_runner *runner);

/* Starts the runner thread unless it runs. 0 or negative errno. */
int ah_runner_start_thread_locked(struct ah_runner *runner);

/* Gives the table's references back. */
void ah_task_table_clear(struct ah_runner *runner);
