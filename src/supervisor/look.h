/*
 * Looking at how long output files are, seldom when nothing is written and often when something is.
 *
 *   A task that writes   is looked at again when it could have reached its limit at LOOK_FASTEST
 *                        bytes a second, but not sooner than after LOOK_MIN (and LOOK_SHARE more
 *                        for each task that writes, so that looks stay cheap in all).
 *   A quiet task         is not looked at: inotify tells of its next write, once. As not every kind
 *                        of write is told of by every kernel, there is a look every LOOK_QUIET.
 *   Without inotify      (its instances and watches are counted per user) looks at a quiet task
 *                        become rarer, up to one every LOOK_BLIND.
 *
 * So a task gets past its limit by what it writes within about LOOK_MIN; by more only where it
 * writes faster than LOOK_FASTEST, or without inotify, when a quiet one begins: in LOOK_BLIND.
 */
#pragma once

#include "task.h"

#define LOOK_FASTEST (4ULL << 30) /* bytes a second */
#define LOOK_MIN (2LL * 1000000)
#define LOOK_SHARE (100LL * 1000)
#define LOOK_MAX (1000LL * 1000000)
#define LOOK_QUIET (2000LL * 1000000)
#define LOOK_BLIND (250LL * 1000000)

/* Opens the inotify instance; the descriptor, or -1 where there is none to be had. */
int look_open(void);

/* Takes up a task that has just begun; nothing when it has no limit. */
void look_begin(struct tasks *tasks, struct task *task);

/* Looks at its output, and says whether it is longer than `max`. Sets the moment of the next look
 * (task->next_look). */
bool look_is_over(struct tasks *tasks, struct task *task, uint64_t max);

/* Nobody looks at this task any more. */
void look_end(struct tasks *tasks, struct task *task);

/* To call when the instance is readable. */
void look_take_events(struct tasks *tasks);
