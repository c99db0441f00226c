/*
 * Requests to end a task from somebody who is not the host: `agenthost tasks kill` in another
 * terminal, or a later agenthost that has resumed the session.
 *
 * A request is a file next to the task's output, <id>.kill for <id>.log, that is moved there whole:
 * the grace in milliseconds, a line end, who wants it, a line end. The supervisor takes it by
 * removing it, and whoever has written it takes it back in the same way: only one of the two can.
 * The directory is its owner's alone (0700); a file of anybody else's is not a request.
 */
#pragma once

#include "task.h"

/* Sees to it that requests for this task are told through the inotify instance. False when that
 * cannot be had; then request_take has to be called from time to time. */
bool request_watch(struct tasks *tasks, const struct task *task);

/* The instance does not watch any more what it watched under this number: it is gone. */
void request_watch_ended(struct tasks *tasks, int watch);

/* A file of this name was moved into a watched directory. */
void request_arrived(struct tasks *tasks, const char *name);

/* Carries out the request for this task, if there is one. */
void request_take(struct tasks *tasks, struct task *task);
