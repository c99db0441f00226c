/*
 * The tasks that the supervisor holds, and how each comes to its end.
 *
 *   RUNNING   the command runs
 *   ENDING    its time is over, or somebody wants it gone: TERM was sent to its group and to what
 *             escaped from it; KILL follows when the grace is over. The leader stays an unreaped
 *             zombie until then, so that the group's number cannot belong to anybody else
 *   LEFTOVER  the command has ended by itself and was reported, but processes that it started
 *             still live; watched only so that the output file keeps its limit
 *
 * Single-threaded. Every order is answered with exactly one AH_LINK_ENDED.
 */
#pragma once

#include "core/superlink.h"
#include "spawn.h"

#define TASKS_MAX 4096

struct task;

struct tasks {
    struct task *first;
    size_t count;
    int epoll_fd;
    const char *run; /* the host's name */
    struct rlimit files;
    struct spawn_slot *slots;
    size_t last_slot; /* where to go on looking for a free one */
    int strays;       /* adopted children that are known to be of leftovers */
    void (*started)(const struct ah_link_started *started);
    void (*ended)(const struct ah_link_ended *ended);
};

/* Carries out an order; failures are reported through `ended`, too. */
void tasks_start(struct tasks *tasks, const struct ah_link_spawn *order);

/* Ends a task; unknown numbers (it has just ended) are ignored. */
void tasks_kill(struct tasks *tasks, const struct ah_link_kill *order);

/* Takes all of them for ending; for when TERM has been sent to everything. */
void tasks_end_all(struct tasks *tasks, int64_t grace_ns);

/* To call when a task's pidfd is readable. */
void tasks_leader_exited(struct tasks *tasks, struct task *task);

/* Does what is due at this moment, and returns when to call again (AH_CLOCK_NEVER: no need). */
int64_t tasks_tick(struct tasks *tasks);

/* Reaps adopted descendants that have ended. */
void tasks_reap_adopted(struct tasks *tasks);
