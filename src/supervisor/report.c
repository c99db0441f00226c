#include "report.h"

#include "core/clock.h"
#include "core/io.h"
#include "core/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the ledger ---- */

/* The descriptor of the ledger at `path`, kept open for the next record; negative errno. */
static int open_ledger(struct tasks *tasks, const char *path)
{
    if (tasks->ledger_path == NULL || strcmp(tasks->ledger_path, path) != 0) {
        ah_io_close(&tasks->ledger_fd);
        free(tasks->ledger_path);
        tasks->ledger_path = strdup(path);
    }
    if (tasks->ledger_fd < 0) {
        int fd = ah_ledger_open(path);
        if (fd < 0) {
            return fd;
        }
        tasks->ledger_fd = fd;
    }
    return tasks->ledger_fd;
}

static int note_start(struct tasks *tasks, const struct task *task,
                      const struct ah_link_spawn *order)
{
    int fd = open_ledger(tasks, order->ledger);
    if (fd < 0) {
        return fd;
    }
    struct ah_ledger_start start = {
        .task = order->id,
        .command = order->command,
        .label = order->label,
        .cwd = order->cwd,
        .output = order->output,
        .pid = task->pid,
        .born = task->born,
        .owed = (order->flags & AH_LINK_OWED) != 0,
        .detached = (order->flags & AH_LINK_DETACHED) != 0,
    };
    return ah_ledger_add_start(fd, &start);
}

void report_start(struct tasks *tasks, const struct task *task, const struct ah_link_spawn *order)
{
    if (order->ledger[0] != '\0') {
        (void)note_start(tasks, task, order); /* a full disk is told with the end */
    }
}

/* Ledger first. That it could not be written is said in the reason: the end itself is known. */
static void tell(struct tasks *tasks, const char *id, const char *ledger,
                 struct ah_link_ended *ended)
{
    char reason[384];
    if (ledger[0] != '\0') {
        struct ah_ledger_end end = {
            .task = id,
            .status = ah_task_status_name(ended->status),
            .code = ended->code,
            .signal = ended->signal,
            .reason = ended->reason,
            .seconds = (double)ended->run_ns / 1e9,
        };
        int rc = open_ledger(tasks, ledger);
        rc = rc < 0 ? rc : ah_ledger_add_end(rc, &end);
        if (rc < 0) {
            snprintf(reason, sizeof reason, "%s%sthe ledger could not be written: %s",
                     ended->reason, ended->reason[0] != '\0' ? "; " : "", strerror(-rc));
            ended->reason = reason;
        }
    }
    tasks->ended(ended);
}

/* ---- ends ---- */

static void describe_refusal(enum spawn_stage stage, int error, const char *command,
                             const char *cwd, const char *output, char *text, size_t size)
{
    const char *why = strerror(error);
    if (stage == SPAWN_CWD) {
        snprintf(text, size, "cannot run in the directory %.100s: %s", cwd, why);
    } else if (stage == SPAWN_EXEC && error == ENOENT) {
        snprintf(text, size, "command not found: %.150s", command);
    } else if (stage == SPAWN_EXEC) {
        snprintf(text, size, "cannot execute %.150s: %s", command, why);
    } else if (stage == SPAWN_OUTPUT) {
        snprintf(text, size, "cannot open its input or the output file %.100s: %s", output, why);
    } else if (stage == SPAWN_LIMIT) {
        snprintf(text, size, "cannot set its limits: %s", why);
    } else {
        snprintf(text, size, "cannot start a process: %s", why);
    }
}

void report_refused(struct tasks *tasks, const struct ah_link_spawn *order, enum spawn_stage stage,
                    int error)
{
    char reason[256];
    describe_refusal(stage, error, order->command, order->cwd, order->output, reason,
                     sizeof reason);
    struct ah_link_ended ended = {
        .task = order->task, .status = AH_TASK_ERROR, .code = -1, .reason = reason};
    tell(tasks, order->id, order->ledger, &ended);
}

void report_end(struct tasks *tasks, const struct task *task, const siginfo_t *info)
{
    char reason[256] = "";
    const struct spawn_slot *slot = &tasks->slots[task->slot];
    bool exited = info->si_code == CLD_EXITED;
    struct ah_link_ended ended = {
        .task = task->number,
        .code = exited ? info->si_status : -1,
        .signal = exited ? 0 : info->si_status,
        .run_ns = ah_clock_now() - task->started,
        .reason = reason,
    };
    if (task->state == TASK_ENDING) {
        ended.status = task->end_as;
        snprintf(reason, sizeof reason, "%s", task->reason);
    } else if (slot->stage != SPAWN_NO_FAILURE) {
        ended.status = AH_TASK_ERROR;
        ended.code = -1;
        describe_refusal((enum spawn_stage)slot->stage, slot->error, task->command, task->cwd,
                         task->output, reason, sizeof reason);
    } else {
        ended.status = exited && info->si_status == 0 ? AH_TASK_COMPLETED : AH_TASK_FAILED;
    }
    tell(tasks, task->id, task->ledger, &ended);
}
