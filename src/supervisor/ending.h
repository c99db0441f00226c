/*
 * Ending a task by force: TERM to its group and to what has escaped from it (and CONT, as what is
 * stopped would sleep through its grace), a grace, KILL until nobody is left.
 */
#pragma once

#include "task.h"

#define ENDING_CHECK (20LL * 1000000) /* the first look whether they are gone; then rarer */

/* Sends signal (0: none) to the group of the task and to whoever carries its marker; returns how
 * many processes there still are (at least one while descriptors or memory are short), or a
 * negative errno where nobody can ever tell. */
int ending_signal(struct tasks *tasks, const struct task *task, int signal);

/* Takes the task for ending, without a signal yet; false when it is ending already (then a shorter
 * grace counts) or has ended. */
bool ending_start(struct tasks *tasks, struct task *task, enum ah_task_status end_as,
                  const char *reason, int64_t grace_ns);

/* The same with the first signal. */
void ending_begin(struct tasks *tasks, struct task *task, enum ah_task_status end_as,
                  const char *reason, int64_t grace_ns, int signal);

/* Does what is due; true when nobody is left, so that the end can be told. */
bool ending_tick(struct tasks *tasks, struct task *task, int64_t now);

/* Whether the leader has exited; it may still have to be reaped. */
bool ending_leader_exited(const struct task *task);
