/*
 * Deciding how a task ended, in words, and writing it to the ledger.
 */
#pragma once

#include "task.h"

#include <signal.h>

/* Notes a start in the ledger. */
void report_start(struct tasks *tasks, const struct task *task, const struct ah_link_spawn *order);

/* The end of a task whose leader has been reaped: ledger first, then the host. */
void report_end(struct tasks *tasks, const struct task *task, const siginfo_t *info);

/* The end of an order that never became a process. */
void report_refused(struct tasks *tasks, const struct ah_link_spawn *order, enum spawn_stage stage,
                    int error);
