#include "task_status.h"

const char *ah_task_status_name(enum ah_task_status status)
{
    static const char *const names[] = {
        [AH_TASK_QUEUED] = "queued",       [AH_TASK_RUNNING] = "running",
        [AH_TASK_COMPLETED] = "completed", [AH_TASK_FAILED] = "failed",
        [AH_TASK_TIMEOUT] = "timeout",     [AH_TASK_KILLED] = "killed",
        [AH_TASK_LOST] = "lost",           [AH_TASK_ERROR] = "error",
    };
    return names[status];
}

bool ah_task_status_is_end(unsigned status)
{
    return status >= AH_TASK_COMPLETED && status <= AH_TASK_ERROR;
}
