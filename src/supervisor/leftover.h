/*
 * What tasks that have ended by themselves have left running.
 *
 * Nobody tells that the last process of a task has gone, but such processes are our children, or
 * descendants of one: so it is looked soon after an adopted child has ended, and every few seconds.
 */
#pragma once

#include "task.h"

/* Takes up a task whose leader has been reaped: whether it has left anything is looked into a
 * little later, for all that have ended by then. */
void leftover_begin(struct tasks *tasks, struct task *task);

/* Looks at its output; ends what writes past the limit. */
void leftover_tick(struct tasks *tasks, struct task *task);

/* An adopted child has been reaped. */
void leftover_child_ended(struct tasks *tasks);

/* Looks into what is due for all of them; returns when the next look is (AH_CLOCK_NEVER: none). */
int64_t leftover_look(struct tasks *tasks);
