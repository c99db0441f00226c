/*
 * What the host itself notes in the ledger: ends that the supervisor cannot report, and marks.
 */
#include "io.h"
#include "ledger.h"
#include "task_internal.h"

#include <stdlib.h>
#include <string.h>

static void choose_ledger_locked(struct ah_runner *runner, const char *path)
{
    if (runner->ledger_path == NULL || strcmp(runner->ledger_path, path) != 0) {
        ah_io_close(&runner->ledger_fd);
        free(runner->ledger_path);
        runner->ledger_path = strdup(path);
    }
}

void ah_task_note_dirty_locked(struct ah_task *task)
{
    choose_ledger_locked(task->runner, task->ledger);
    task->runner->ledger_dirty = true;
}

static int open_ledger_locked(struct ah_runner *runner, const char *path)
{
    choose_ledger_locked(runner, path);
    if (runner->ledger_fd < 0) {
        int fd = ah_ledger_open(path);
        if (fd < 0) {
            return fd;
        }
        runner->ledger_fd = fd;
    }
    return runner->ledger_fd;
}

int ah_task_note_queued_locked(struct ah_task *task)
{
    int fd = open_ledger_locked(task->runner, task->ledger);
    struct ah_ledger_start queued = {
        .task = task->id,
        .command = task->command,
        .label = task->label,
        .cwd = task->cwd,
        .output = task->output,
        .owed = task->state.notify && task->queue != NULL,
        .detached = task->state.detached,
    };
    return fd < 0 ? fd : ah_ledger_add_queued(fd, &queued);
}

int ah_task_note_end_locked(struct ah_task *task)
{
    int fd = open_ledger_locked(task->runner, task->ledger);
    struct ah_ledger_end end = {
        .task = task->id,
        .status = ah_task_status_name(task->state.status),
        .code = task->state.code,
        .signal = task->state.signal,
        .reason = task->state.reason,
        .seconds = task->state.seconds,
    };
    return fd < 0 ? fd : ah_ledger_add_end(fd, &end);
}

int ah_task_note_mark_locked(struct ah_task *task, const char *type)
{
    int fd = open_ledger_locked(task->runner, task->ledger);
    return fd < 0 ? fd : ah_ledger_add_mark(fd, type, task->id);
}

int ah_task_delivered(struct ah_task *task)
{
    pthread_mutex_lock(&task->runner->lock);
    task->delivered = true;
    int rc = task->state.notify ? ah_task_note_mark_locked(task, "delivered") : 0;
    pthread_mutex_unlock(&task->runner->lock);
    return rc;
}
