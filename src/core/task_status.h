/*
 * The states of a task, for the supervisor (which decides how a task ended) and the host.
 */
#pragma once

#include <stdbool.h>

enum ah_task_status {
    AH_TASK_QUEUED,
    AH_TASK_RUNNING,
    AH_TASK_COMPLETED, /* exited by itself with code 0 */
    AH_TASK_FAILED,    /* exited with another code, or by a signal that nobody here has sent */
    AH_TASK_TIMEOUT,   /* its time ran out and it was ended */
    AH_TASK_KILLED,    /* ended by somebody, by the output limit, or with the host */
    AH_TASK_LOST,      /* nobody can know how it ended */
    AH_TASK_ERROR,     /* it never started */
};

/* "queued", "running", ... */
const char *ah_task_status_name(enum ah_task_status status);

/* Whether it is the number of a state that a task does not leave. */
bool ah_task_status_is_end(unsigned status);
