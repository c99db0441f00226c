/*
 * The tasks that the supervisor holds, and how each comes to its end.
 *
 *   RUNNING   the command runs
 *   ENDING    its time is over, or somebody wants it gone: TERM was sent to its group and to what
 *             escaped from it; KILL follows when the grace is over. The leader stays an unreaped
 *             zombie until then, so that the group's number cannot belong to anybody else
 *   LEFTOVER  the command has ended by itself and was reported, but processes that it started
 *             still live; watched only so that the output file keeps its limit
 *   DEAD      done with; freed by the next tick, because events for it may still be at hand
 *
 * Single-threaded. Every order is answered with exactly one end, which is in the ledger before it
 * is reported.
 */
#pragma once

#include "core/buf.h"
#include "core/superlink.h"
#include "core/task_status.h"
#include "due.h"
#include "proc.h"
#include "spawn.h"

#define TASKS_MAX 4096
#define WATCH_CHAINS 1024 /* a power of two */

enum task_state { TASK_RUNNING, TASK_ENDING, TASK_LEFTOVER, TASK_DEAD };

/* What an event of the epoll set is about. */
struct watch {
    enum { WATCH_LEADER, WATCH_STREAM } kind;
    struct task *task;
};

struct task {
    struct task *next;
    uint64_t number;
    char *id;
    char *command; /* for what is said of it; with the next two until it has ended */
    char *cwd;
    char *ledger;
    char *output;
    uint64_t max_output;
    int64_t grace_ns;
    int64_t started;
    bool detached;
    pid_t pid;     /* also the number of its group */
    uint64_t born; /* proc_birth */
    int pidfd;     /* -1 once the leader has ended */
    struct watch leader;
    size_t slot;
    enum task_state state;
    enum ah_task_status end_as; /* ENDING: TIMEOUT or KILLED */
    char reason[128];           /* ENDING: why */
    int64_t deadline;           /* of the command; AH_CLOCK_NEVER: none */
    int64_t kill_at;            /* ENDING: when the grace is over */
    int64_t next_check;         /* who is left; AH_CLOCK_NEVER: that will be told */
    int64_t next_look;          /* look.h: at the output's size; AH_CLOCK_NEVER: no need */
    int64_t due;                /* due.h: the first of these four */
    size_t due_place;
    int rounds;      /* ENDING: how often it was looked who is left */
    int kills;       /* ENDING: how often KILL was sent */
    bool unheard;    /* nobody tells of its end, or of requests: both are found by looking */
    bool unsure;     /* LEFTOVER: whether it has left anything is not yet known */
    bool group_gone; /* LEFTOVER: the group's number may belong to somebody else by now */
    /* look.h: the output's size */
    uint64_t seen;             /* at the last look */
    int still;                 /* looks in a row at which it had not grown */
    int watch;                 /* inotify tells of its next write; -1: it does not */
    struct task *next_watched; /* in the same chain of struct tasks */
    /* stream.h: stdin by a pipe, or a terminal */
    int stream;        /* -1: none */
    int stream_output; /* a terminal's: the output file */
    bool stream_end;   /* close it when all is written */
    struct watch stream_watch;
    struct ah_buf waiting; /* not yet written */
};

struct tasks {
    struct task *first;
    size_t count;
    struct due due;
    int epoll_fd;
    int inotify_fd;                     /* -1: none */
    size_t asleep;                      /* tasks whose next write inotify tells of */
    struct task *watched[WATCH_CHAINS]; /* those, by the number of the watch */
    char *watched_dir; /* request.h: the last directory that it tells requests of; or NULL */
    int dir_watch;     /* the watch for it */
    const char *run;   /* the host's name */
    struct rlimit files;
    struct spawn_slot *slots;
    bool slot_used[TASKS_MAX];
    size_t last_slot;  /* where to go on looking for a free one */
    char *ledger_path; /* of the open ledger */
    int ledger_fd;     /* -1: none */
    enum { TICKS_UNTRIED, TICKS_AGREE, TICKS_DIFFER } ticks; /* proc_tick and proc_birth */
    int strays;             /* adopted children that are known to be of leftovers */
    size_t dead;            /* tasks that wait to be freed */
    size_t leftovers;       /* tasks in that state */
    int64_t unsure_at;      /* when to look whether they have left anything; or AH_CLOCK_NEVER */
    int64_t leftovers_at;   /* when to look whether some have gone; or AH_CLOCK_NEVER */
    int64_t leftovers_rest; /* and not before */
    struct proc_scan scan; /* the processes of the machine, once for all that is done in one tick */
    void (*started)(const struct ah_link_started *started);
    void (*written)(const struct ah_link_written *written);
    void (*ended)(const struct ah_link_ended *ended);
};

/* Sets up what is not zero at the start. 0 or negative errno. */
int tasks_init(struct tasks *tasks, int epoll_fd, const char *run);

/* Carries out an order; failures are reported as an end, too. */
void tasks_start(struct tasks *tasks, const struct ah_link_spawn *order);

/* Ends a task, or feeds it; unknown numbers (it has just ended) are ignored. */
void tasks_kill(struct tasks *tasks, const struct ah_link_kill *order);
void tasks_write(struct tasks *tasks, const struct ah_link_write *order);

/* Takes all that are not detached for ending; for when TERM has been sent to everything. */
void tasks_end_all(struct tasks *tasks, int64_t grace_ns, const char *reason);

/* Reports the ends of those that are ending and whose command has exited, without a look for what
 * they have left: for when everything has been ended. */
void tasks_finish_exited(struct tasks *tasks);

/* Whether a detached task still runs. */
bool tasks_any_detached(const struct tasks *tasks);

/* Whether a process of this group, or with this marker ("NAME=value"), belongs to a detached task.
 * For proc_signal. */
bool tasks_is_detached_group(const void *tasks, pid_t group);
bool tasks_is_detached_marker(const void *tasks, const char *variable);

/* To call with each event of the epoll set that is about a task. */
void tasks_handle_event(struct tasks *tasks, const struct watch *watch, uint32_t events);

/* Does what is due at this moment, and returns when to call again (AH_CLOCK_NEVER: no need). */
int64_t tasks_tick(struct tasks *tasks);

/* Reaps adopted descendants that have ended. */
void tasks_reap_adopted(struct tasks *tasks);

/* ---- for the parts of the supervisor that deal with single tasks ---- */

/* To call when a moment of the task has been set: deadline, kill_at, next_check, next_look. */
void task_reschedule(struct tasks *tasks, struct task *task);

/* Done with it. */
void task_bury(struct tasks *tasks, struct task *task);

/* The variable that is in the environment of all its processes. */
void task_write_marker(const struct tasks *tasks, const struct task *task, char *text, size_t size);
