#include "task.h"

#include "core/clock.h"
#include "core/io.h"
#include "ending.h"
#include "leftover.h"
#include "look.h"
#include "output.h"
#include "proc.h"
#include "report.h"
#include "request.h"
#include "stream.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#define UNHEARD_CHECK (250LL * 1000000) /* of a task of which nobody tells anything */

static void task_free(struct task *task)
{
    ah_io_close(&task->pidfd);
    ah_io_close(&task->stream);
    ah_io_close(&task->stream_output);
    ah_buf_clear(&task->waiting);
    free(task->id);
    free(task->command);
    free(task->cwd);
    free(task->ledger);
    free(task->output);
    free(task);
}

static struct task *task_new(const struct ah_link_spawn *order)
{
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        return NULL;
    }
    int64_t now = ah_clock_now();
    task->number = order->task;
    task->pidfd = -1;
    task->stream = -1;
    task->stream_output = -1;
    task->id = strdup(order->id);
    task->command = strdup(order->command);
    task->cwd = strdup(order->cwd);
    task->ledger = strdup(order->ledger);
    task->output = strdup(order->output);
    task->max_output = order->max_output;
    task->grace_ns = order->grace_ns;
    task->started = now;
    task->detached = (order->flags & AH_LINK_DETACHED) != 0;
    task->leader = (struct watch){.kind = WATCH_LEADER, .task = task};
    task->deadline = order->timeout_ns > 0 ? now + order->timeout_ns : AH_CLOCK_NEVER;
    task->next_check = AH_CLOCK_NEVER;
    task->next_look = AH_CLOCK_NEVER;
    task->kill_at = AH_CLOCK_NEVER;
    task->watch = -1;
    if (task->id == NULL || task->command == NULL || task->cwd == NULL || task->ledger == NULL ||
        task->output == NULL) {
        task_free(task);
        return NULL;
    }
    return task;
}

/* A slot that no task uses. There are as many slots as tasks, so there is one. */
static size_t take_slot(struct tasks *tasks)
{
    do {
        tasks->last_slot = (tasks->last_slot + 1) % TASKS_MAX;
    } while (tasks->slot_used[tasks->last_slot]);
    tasks->slot_used[tasks->last_slot] = true;
    return tasks->last_slot;
}

void task_reschedule(struct tasks *tasks, struct task *task)
{
    int64_t when = task->deadline;
    when = task->kill_at < when ? task->kill_at : when;
    when = task->next_check < when ? task->next_check : when;
    when = task->next_look < when ? task->next_look : when;
    due_set(&tasks->due, task, when);
}

static void free_dead(struct tasks *tasks)
{
    for (struct task **at = &tasks->first; tasks->dead > 0 && *at != NULL;) {
        struct task *task = *at;
        if (task->state == TASK_DEAD) {
            assert(task->due_place == 0);
            *at = task->next;
            tasks->count--;
            tasks->dead--;
            tasks->slot_used[task->slot] = false;
            task_free(task);
        } else {
            at = &task->next;
        }
    }
}

/* The birth of a process that was started between two moments. When both are in one tick it is that
 * one, and reading /proc, which costs a tenth of a start, tells nothing new; the first process
 * shows whether this kernel counts alike. */
static uint64_t birth_between(struct tasks *tasks, pid_t pid, uint64_t before, uint64_t after)
{
    if (before == after && tasks->ticks == TICKS_AGREE) {
        return before;
    }
    uint64_t born = proc_birth(pid);
    if (before == after && tasks->ticks == TICKS_UNTRIED) {
        tasks->ticks = born == before ? TICKS_AGREE : TICKS_DIFFER;
    }
    return born;
}

int tasks_init(struct tasks *tasks, int epoll_fd, const char *run)
{
    tasks->epoll_fd = epoll_fd;
    tasks->run = run;
    tasks->ledger_fd = -1;
    tasks->unsure_at = AH_CLOCK_NEVER;
    tasks->leftovers_at = AH_CLOCK_NEVER;
    tasks->inotify_fd = look_open();
    tasks->slots = spawn_slots_new(TASKS_MAX);
    if (tasks->slots == NULL) {
        return -errno;
    }
    return due_init(&tasks->due, TASKS_MAX);
}

void tasks_start(struct tasks *tasks, const struct ah_link_spawn *order)
{
    if (tasks->count >= TASKS_MAX) {
        report_refused(tasks, order, SPAWN_FORK, EAGAIN);
        return;
    }
    struct task *task = task_new(order);
    if (task == NULL) {
        report_refused(tasks, order, SPAWN_FORK, ENOMEM);
        return;
    }
    bool hears_requests = request_watch(tasks, task); /* before anybody can know of it */
    task->slot = take_slot(tasks);
    struct spawn_child child;
    uint64_t before = proc_tick();
    int rc = spawn_start(order, tasks->run, &tasks->files, &tasks->slots[task->slot], &child);
    if (rc < 0) {
        report_refused(tasks, order, SPAWN_FORK, -rc);
        tasks->slot_used[task->slot] = false;
        task_free(task);
        return;
    }
    task->pid = child.pid;
    task->born = birth_between(tasks, child.pid, before, proc_tick());
    task->pidfd = child.pidfd;
    task->next = tasks->first;
    tasks->first = task;
    tasks->count++;
    stream_open(tasks, task, child.stream, (order->flags & AH_LINK_PTY) != 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &task->leader};
    /* Not so when there is no memory in the kernel, or no more watches for this user. */
    if (epoll_ctl(tasks->epoll_fd, EPOLL_CTL_ADD, task->pidfd, &event) != 0 || !hears_requests) {
        task->unheard = true;
        task->next_check = ah_clock_now() + UNHEARD_CHECK;
    }
    look_begin(tasks, task);
    task_reschedule(tasks, task);
    report_start(tasks, task, order);
    struct ah_link_started started = {.task = task->number, .pid = task->pid};
    tasks->started(&started);
}

void task_write_marker(const struct tasks *tasks, const struct task *task, char *text, size_t size)
{
    snprintf(text, size, AH_LINK_MARKER "=%s:%s", tasks->run, task->id);
}

/* ---- orders ---- */

static struct task *find(const struct tasks *tasks, uint64_t number)
{
    struct task *task = tasks->first;
    while (task != NULL && (task->number != number || task->state == TASK_DEAD)) {
        task = task->next;
    }
    return task;
}

void tasks_kill(struct tasks *tasks, const struct ah_link_kill *order)
{
    struct task *task = find(tasks, order->task);
    if (task != NULL) {
        char reason[128];
        snprintf(reason, sizeof reason, "by %s", order->by);
        ending_begin(tasks, task, AH_TASK_KILLED, reason, order->grace_ns,
                     order->signal != 0 ? (int)order->signal : SIGTERM);
    }
}

void tasks_write(struct tasks *tasks, const struct ah_link_write *order)
{
    struct task *task = find(tasks, order->task);
    if (task != NULL && task->state != TASK_LEFTOVER) {
        stream_write(tasks, task, order);
    }
}

void tasks_end_all(struct tasks *tasks, int64_t grace_ns, const char *reason)
{
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        if (!task->detached) {
            ending_start(tasks, task, AH_TASK_KILLED, reason, grace_ns);
        }
    }
}

bool tasks_any_detached(const struct tasks *tasks)
{
    for (const struct task *task = tasks->first; task != NULL; task = task->next) {
        if (task->detached && task->state != TASK_DEAD) {
            return true;
        }
    }
    return false;
}

bool tasks_is_detached_group(const void *data, pid_t group)
{
    const struct tasks *tasks = data;
    for (const struct task *task = tasks->first; task != NULL; task = task->next) {
        if (task->detached && task->state != TASK_DEAD && task->pid == group) {
            return true;
        }
    }
    return false;
}

bool tasks_is_detached_marker(const void *data, const char *variable)
{
    const struct tasks *tasks = data;
    for (const struct task *task = tasks->first; task != NULL; task = task->next) {
        char marker[192];
        task_write_marker(tasks, task, marker, sizeof marker);
        if (task->detached && task->state != TASK_DEAD && strcmp(marker, variable) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- the end of a task ---- */

void task_bury(struct tasks *tasks, struct task *task)
{
    tasks->leftovers -= task->state == TASK_LEFTOVER ? 1 : 0;
    tasks->dead++;
    task->state = TASK_DEAD;
    task->deadline = AH_CLOCK_NEVER;
    task->kill_at = AH_CLOCK_NEVER;
    task->next_check = AH_CLOCK_NEVER;
    look_end(tasks, task);
    task_reschedule(tasks, task); /* at no time */
}

/* Reaps the leader, reports, and keeps the task only when it has left something running. */
static void finish(struct tasks *tasks, struct task *task)
{
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)task->pid, &info, WEXITED) != 0 && errno == EINTR) {
    }
    stream_close(tasks, task);
    if (task->max_output > 0) {
        output_trim(task->output, task->max_output);
    }
    report_end(tasks, task, &info);
    tasks_reap_adopted(tasks);
    if (task->state == TASK_RUNNING && (task->max_output > 0 || task->detached)) {
        leftover_begin(tasks, task);
        task_reschedule(tasks, task);
    } else {
        task_bury(tasks, task);
    }
}

static void leader_exited(struct tasks *tasks, struct task *task)
{
    if (task->pidfd < 0) {
        return;
    }
    epoll_ctl(tasks->epoll_fd, EPOLL_CTL_DEL, task->pidfd, NULL);
    ah_io_close(&task->pidfd);
    if (task->state == TASK_RUNNING) {
        finish(tasks, task);
    } else {
        task->next_check = ah_clock_now();
        task_reschedule(tasks, task);
    }
}

void tasks_handle_event(struct tasks *tasks, const struct watch *watch, uint32_t events)
{
    if (watch->kind == WATCH_LEADER) {
        leader_exited(tasks, watch->task);
    } else {
        stream_ready(tasks, watch->task, events);
    }
}

static void finish_ending(struct tasks *tasks, struct task *task)
{
    if (task->pidfd >= 0) {
        epoll_ctl(tasks->epoll_fd, EPOLL_CTL_DEL, task->pidfd, NULL);
    }
    finish(tasks, task);
}

void tasks_finish_exited(struct tasks *tasks)
{
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        if (task->state == TASK_ENDING && (task->pidfd < 0 || ending_leader_exited(task))) {
            finish_ending(tasks, task);
        }
    }
}

/* ---- what is due ---- */

static void tick_running(struct tasks *tasks, struct task *task, int64_t now)
{
    if (now >= task->deadline) {
        ending_begin(tasks, task, AH_TASK_TIMEOUT, "its time was over", task->grace_ns, SIGTERM);
        return;
    }
    if (now >= task->next_look && look_is_over(tasks, task, task->max_output)) {
        ending_begin(tasks, task, AH_TASK_KILLED, "output limit", 0, SIGKILL);
        look_end(tasks, task);
    } else if (now >= task->next_check) {
        task->next_check = now + UNHEARD_CHECK;
        if (ending_leader_exited(task)) {
            leader_exited(tasks, task);
        } else {
            request_take(tasks, task);
        }
    }
}

static void tick_task(struct tasks *tasks, struct task *task, int64_t now)
{
    if (task->state == TASK_RUNNING) {
        tick_running(tasks, task, now);
    } else if (task->state == TASK_LEFTOVER) {
        leftover_tick(tasks, task);
    } else if (task->state == TASK_ENDING && ending_tick(tasks, task, now)) {
        finish_ending(tasks, task);
    }
    task_reschedule(tasks, task);
}

int64_t tasks_tick(struct tasks *tasks)
{
    proc_scan_clear(&tasks->scan); /* of orders that have come since */
    free_dead(tasks);
    int64_t now = ah_clock_now();
    struct task *task;
    while ((task = due_first(&tasks->due)) != NULL && task->due <= now) {
        tick_task(tasks, task, now);
    }
    int64_t next = leftover_look(tasks);
    proc_scan_clear(&tasks->scan);
    if (tasks->dead > 0) {
        return now; /* to be freed, and perhaps the last that somebody waited for */
    }
    return task != NULL && task->due < next ? task->due : next;
}

void tasks_reap_adopted(struct tasks *tasks)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
            return;
        }
        for (const struct task *t = tasks->first; t != NULL; t = t->next) {
            if (t->pid == info.si_pid && t->state != TASK_LEFTOVER && t->state != TASK_DEAD) {
                return; /* a leader: reaped with its task; the others wait until then */
            }
        }
        waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
        leftover_child_ended(tasks);
    }
}
