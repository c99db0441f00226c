/*
 * The supervisor as a process: starting it, and seeing it off.
 */
#pragma once

#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Starts the program at `path` with a fresh SEQPACKET socket as its AH_LINK_FD. Gives its pid and
 * our end (owned, close-on-exec, blocking). 0 or negative errno with a message. Any thread. */
int ah_superproc_start(const char *path, pid_t *ret_pid, int *ret_fd, struct ah_err *err);

/* Tells the supervisor that no more orders come, upon which it ends all tasks that are not detached
 * and closes its end; waits for that for at most `patience_ns` and kills it otherwise. *fd becomes
 * -1. Reaps it, unless it stays with detached tasks. False when it has not left in good order, so
 * that tasks may be left. */
bool ah_superproc_stop(pid_t pid, int *fd, int64_t patience_ns);
