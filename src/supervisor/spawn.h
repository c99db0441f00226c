/*
 * Starting one command: fork, prepare the child, exec.
 *
 * The child gets its own session, /dev/null as stdin (or a pipe, or a terminal of its own), the
 * output file as stdout and stderr, its limits, and default signals; unless it is detached it dies
 * with the supervisor. What goes wrong between fork and exec is told through memory that both
 * share: the child fills a slot and exits, the parent looks at the slot when the child has ended.
 * So nobody waits for an exec.
 */
#pragma once

#include "core/superlink.h"

#include <stdbool.h>
#include <sys/resource.h>

enum spawn_stage {
    SPAWN_NO_FAILURE,
    SPAWN_FORK, /* also: the pipe or the terminal could not be had */
    SPAWN_OUTPUT,
    SPAWN_CWD,
    SPAWN_LIMIT,
    SPAWN_EXEC,
};

struct spawn_slot {
    int stage; /* enum spawn_stage */
    int error; /* errno */
};

/* An array of `count` slots that children share. NULL with errno set when it cannot be had. */
struct spawn_slot *spawn_slots_new(size_t count);

struct spawn_child {
    pid_t pid;
    int pidfd;  /* owned by the caller */
    int stream; /* owned: feeds stdin (non-blocking), or is the terminal's master; -1: none */
};

/* Forks. `run` is the host's name for the marker, `files` the limit on open files that the child
 * gets back. 0 or negative errno; then there is no child. */
int spawn_start(const struct ah_link_spawn *order, const char *run, const struct rlimit *files,
                struct spawn_slot *slot, struct spawn_child *ret_child);
