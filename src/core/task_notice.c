/*
 * The notice of an ended task: who is told, and whether it is still owed.
 */
#include "task_internal.h"

#include <string.h>
#include <sys/stat.h>

static struct ah_notice *make_notice(const struct ah_task *task)
{
    const struct ah_task_state *state = &task->state;
    const char *status = ah_task_status_name(state->status);
    struct stat st;
    int64_t bytes = stat(task->output, &st) == 0 ? (int64_t)st.st_size : 0;
    struct ah_notice *notice = ah_notice_new();
    if (notice == NULL) {
        return NULL;
    }
    int rc = ah_notice_add_text(notice, "kind", "task", 4);
    rc = rc < 0 ? rc : ah_notice_add_text(notice, "task", task->id, strlen(task->id));
    rc = rc < 0 ? rc : ah_notice_add_text(notice, "status", status, strlen(status));
    rc = rc < 0 ? rc : ah_notice_add_text(notice, "command", task->command, strlen(task->command));
    if (rc == 0 && task->label != NULL) {
        rc = ah_notice_add_text(notice, "label", task->label, strlen(task->label));
    }
    if (rc == 0 && state->code >= 0) {
        rc = ah_notice_add_integer(notice, "code", state->code);
    }
    if (rc == 0 && state->signal > 0) {
        rc = ah_notice_add_integer(notice, "signal", state->signal);
    }
    if (rc == 0 && state->reason[0] != '\0') {
        rc = ah_notice_add_text(notice, "reason", state->reason, strlen(state->reason));
    }
    rc = rc < 0 ? rc : ah_notice_add_number(notice, "seconds", state->seconds);
    rc = rc < 0 ? rc : ah_notice_add_text(notice, "output", task->output, strlen(task->output));
    rc = rc < 0 ? rc : ah_notice_add_integer(notice, "bytes", bytes);
    if (rc < 0) {
        ah_notice_free(notice);
        return NULL;
    }
    return notice;
}

static void set_owed_locked(struct ah_task *task, bool owed)
{
    if (task->notice_owed != owed) {
        task->notice_owed = owed;
        task->runner->owed += owed ? 1 : (size_t)-1;
    }
}

void ah_task_notify_locked(struct ah_task *task)
{
    if (task->told || task->notice_seq != 0 || !task->state.notify || task->queue == NULL) {
        set_owed_locked(task, false);
        return;
    }
    struct ah_notice *notice = make_notice(task);
    set_owed_locked(task, notice == NULL);
    if (notice != NULL) {
        task->notice_seq = ah_queue_push(task->queue, notice);
    }
}

void ah_task_retry_notices_locked(struct ah_runner *runner)
{
    for (struct ah_task *t = runner->oldest; t != NULL && runner->owed > 0; t = t->younger) {
        if (t->notice_owed) {
            ah_task_notify_locked(t);
        }
    }
}

void ah_task_set_notify(struct ah_task *task, bool notify)
{
    pthread_mutex_lock(&task->runner->lock);
    if (notify && !task->state.notify && !task->told && task->queue != NULL) {
        /* Without the mark a crash would cost this one notice; that it cannot be written is no
         * reason to withhold it now. */
        (void)ah_task_note_mark_locked(task, "owed");
    } else if (!notify && task->state.notify && task->notice_seq == 0) {
        (void)ah_task_note_mark_locked(task, "waived");
    }
    task->state.notify = notify;
    if (task->state.ended) {
        ah_task_notify_locked(task);
    }
    pthread_mutex_unlock(&task->runner->lock);
}

bool ah_task_set_queue(struct ah_task *task, struct ah_queue *queue)
{
    struct ah_queue *before = NULL;
    pthread_mutex_lock(&task->runner->lock);
    bool moves = task->state.notify && task->queue != NULL && !task->told && !task->delivered;
    if (moves) {
        if (task->notice_seq != 0) {
            (void)ah_queue_withdraw(task->queue, task->notice_seq);
        }
        before = task->queue;
        task->queue = ah_queue_ref(queue);
        task->notice_seq = 0;
        if (task->state.ended) {
            ah_task_notify_locked(task);
        }
    }
    pthread_mutex_unlock(&task->runner->lock);
    ah_queue_unref(before);
    return moves;
}

bool ah_task_acknowledge(struct ah_task *task)
{
    pthread_mutex_lock(&task->runner->lock);
    bool told = false;
    if (task->state.ended) {
        /* Withdrawn before, it may be pending again: the message did not come to be. */
        told =
            task->notice_seq == 0 || ah_queue_withdraw(task->queue, task->notice_seq) || task->told;
        task->told = told;
        if (told) {
            set_owed_locked(task, false);
        }
    }
    pthread_mutex_unlock(&task->runner->lock);
    return told;
}
