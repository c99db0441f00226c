/*
 * What feeds a command that wants it: a pipe as its stdin, or a terminal of its own. The output of
 * a terminal goes through here into the output file; a pipe is for writing only.
 */
#pragma once

#include "task.h"

/* Takes over a descriptor (-1: none) for a task that was just started. */
void stream_open(struct tasks *tasks, struct task *task, int fd, bool terminal);

/* Queues bytes for the command. They are reported as written when it has taken them. */
void stream_write(struct tasks *tasks, struct task *task, const struct ah_link_write *order);

/* To call when the descriptor is ready. */
void stream_ready(struct tasks *tasks, struct task *task, uint32_t events);

/* Takes in what a terminal still holds, and closes. */
void stream_close(struct tasks *tasks, struct task *task);
