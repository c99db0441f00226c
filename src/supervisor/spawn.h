/*
 * Starting one command: fork, prepare the child, exec.
 *
 * The child gets its own session (no terminal to open), /dev/null as stdin, the output file as
 * stdout and stderr, default signals, and dies with the supervisor. What goes wrong between fork
 * and exec is told through memory that both share: the child fills a slot and exits, the parent
 * looks at the slot when the child has ended. So nobody waits for an exec.
 */
#pragma once

#include "core/superlink.h"

#include <stdbool.h>
#include <sys/resource.h>

struct spawn_slot {
    int stage; /* enum ah_link_stage; AH_LINK_STAGE_NONE while nothing went wrong */
    int error; /* errno */
};

/* An array of `count` slots that children share. NULL with errno set when it cannot be had. */
struct spawn_slot *spawn_slots_new(size_t count);

/* Forks. `run` is the host's name for the marker, `files` the limit on open files that the child
 * gets back. Gives the child's pid and a pidfd (owned by the caller). 0 or negative errno; then
 * there is no child. */
int spawn_start(const struct ah_link_spawn *order, const char *run, const struct rlimit *files,
                struct spawn_slot *slot, pid_t *ret_pid, int *ret_pidfd);
