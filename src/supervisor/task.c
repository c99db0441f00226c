#include "task.h"

#include "core/clock.h"
#include "core/io.h"
#include "output.h"
#include "proc.h"
#include "report.h"
#include "stream.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#define MS 1000000LL
#define CHECK_EVERY (20 * MS)  /* of a task that is ending: are they gone? */
#define WATCH_EVERY (100 * MS) /* of a running one: is its output within the limit? */
#define GONE_EVERY 50          /* watches of a leftover: have the escaped ones gone, too? */
#define KILL_ROUNDS 50         /* then what cannot be killed (stuck in the kernel) is given up */

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
    task->next_check = task->max_output > 0 ? now + WATCH_EVERY : AH_CLOCK_NEVER;
    task->kill_at = AH_CLOCK_NEVER;
    if (task->id == NULL || task->command == NULL || task->cwd == NULL || task->ledger == NULL ||
        task->output == NULL) {
        task_free(task);
        return NULL;
    }
    return task;
}

/* A slot that no task uses. There are as many slots as tasks, so there is one. */
static size_t free_slot(struct tasks *tasks)
{
    for (;;) {
        tasks->last_slot = (tasks->last_slot + 1) % TASKS_MAX;
        bool used = false;
        for (const struct task *t = tasks->first; t != NULL && !used; t = t->next) {
            used = t->slot == tasks->last_slot;
        }
        if (!used) {
            return tasks->last_slot;
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
    task->slot = free_slot(tasks);
    struct spawn_child child;
    uint64_t before = proc_tick();
    int rc = spawn_start(order, tasks->run, &tasks->files, &tasks->slots[task->slot], &child);
    if (rc < 0) {
        report_refused(tasks, order, SPAWN_FORK, -rc);
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
    if (epoll_ctl(tasks->epoll_fd, EPOLL_CTL_ADD, task->pidfd, &event) != 0) {
        /* No memory in the kernel: found by looking, with the other checks. */
        task->next_check = ah_clock_now() + CHECK_EVERY;
    }
    report_start(tasks, task, order);
    struct ah_link_started started = {.task = task->number, .pid = task->pid};
    tasks->started(&started);
}

/* ---- signals ---- */

/* The variable that is in the environment of all its processes. */
static void write_marker(const struct tasks *tasks, const struct task *task, char *text,
                         size_t size)
{
    snprintf(text, size, AH_LINK_MARKER "=%s:%s", tasks->run, task->id);
}

/* Sends signal to the group of the task and to whoever carries its marker; returns how many
 * processes there still are. */
static int signal_all(const struct tasks *tasks, const struct task *task, int signal)
{
    char marker[192];
    write_marker(tasks, task, marker, sizeof marker);
    struct proc_match match = {.group = task->group_gone ? 0 : task->pid, .marker = marker};
    if (signal != 0 && signal != SIGKILL) {
        match.spared = task->pid; /* had it from task_end */
    }
    int left = proc_signal(&match, signal);
    if (left < 0 && signal != 0 && !task->group_gone) {
        /* No /proc: at least the group. */
        left = kill(-task->pid, signal) == 0 ? 1 : 0;
    }
    return left;
}

/* Without a signal yet; false when the task is ending already or has ended. */
static bool start_ending(struct task *task, enum ah_task_status end_as, const char *reason,
                         int64_t grace_ns)
{
    int64_t now = ah_clock_now();
    if (task->state == TASK_ENDING) {
        task->kill_at = now + grace_ns < task->kill_at ? now + grace_ns : task->kill_at;
        return false;
    }
    if (task->state != TASK_RUNNING) {
        return false;
    }
    task->state = TASK_ENDING;
    task->end_as = end_as;
    snprintf(task->reason, sizeof task->reason, "%s", reason);
    task->deadline = AH_CLOCK_NEVER;
    task->kill_at = now + grace_ns;
    task->next_check = now + CHECK_EVERY;
    return true;
}

static void task_end(struct tasks *tasks, struct task *task, enum ah_task_status end_as,
                     const char *reason, int64_t grace_ns, int signal)
{
    if (start_ending(task, end_as, reason, grace_ns) && grace_ns > 0) {
        /* The group in one step, then who has left it. Each gets one TERM: to many programs a
         * second one means "at once". A child that is not yet in its own session is no group. */
        if (kill(-task->pid, signal) != 0) {
            kill(task->pid, signal);
        }
        signal_all(tasks, task, signal);
    }
}

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
        task_end(tasks, task, AH_TASK_KILLED, reason, order->grace_ns,
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
            start_ending(task, AH_TASK_KILLED, reason, grace_ns);
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
        write_marker(tasks, task, marker, sizeof marker);
        if (task->detached && task->state != TASK_DEAD && strcmp(marker, variable) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- the end of a task ---- */

static void bury(struct task *task)
{
    task->state = TASK_DEAD;
    task->deadline = AH_CLOCK_NEVER;
    task->kill_at = AH_CLOCK_NEVER;
    task->next_check = 0; /* at the next tick */
}

/* Whether there is a child that is neither the leader of a task nor known to be left by one. */
static bool has_unknown_child(const struct tasks *tasks)
{
    int known = tasks->strays;
    for (const struct task *t = tasks->first; t != NULL; t = t->next) {
        known += t->state == TASK_RUNNING || t->state == TASK_ENDING ? 1 : 0;
    }
    int children = proc_count_children();
    return children < 0 || children > known;
}

/* Whether the command, whose leader is reaped, has left processes: at least one of those is our
 * child now. */
static bool has_leftovers(struct tasks *tasks, struct task *task)
{
    char marker[192];
    write_marker(tasks, task, marker, sizeof marker);
    struct proc_match match = {
        .group = task->group_gone ? 0 : task->pid, .marker = marker, .only_children = true};
    int left = proc_signal(&match, 0);
    tasks->strays += left > 0 ? left : 0;
    return left > 0;
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
        task->state = TASK_LEFTOVER;
        task->unsure = true; /* looked into a little later, for all that have ended by then */
        task->group_gone = kill(-task->pid, 0) != 0;
        task->next_check = ah_clock_now() + CHECK_EVERY;
        task->deadline = AH_CLOCK_NEVER;
    } else {
        bury(task);
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

static bool leader_has_exited(const struct task *task)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)task->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == task->pid;
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
        if (task->state == TASK_ENDING && (task->pidfd < 0 || leader_has_exited(task))) {
            finish_ending(tasks, task);
        }
    }
}

static void tick_ending(struct tasks *tasks, struct task *task, int64_t now)
{
    if (now >= task->kill_at) {
        task->rounds++;
        if (kill(-task->pid, SIGKILL) != 0) {
            kill(task->pid, SIGKILL);
        }
        signal_all(tasks, task, SIGKILL);
        task->kill_at = now + CHECK_EVERY * task->rounds;
    }
    if (now >= task->next_check) {
        task->next_check = now + CHECK_EVERY * (task->rounds + 1);
        bool exited = task->pidfd < 0 || leader_has_exited(task);
        if (exited && (task->rounds >= KILL_ROUNDS || signal_all(tasks, task, 0) <= 0)) {
            finish_ending(tasks, task);
        }
    }
}

static void tick_leftover(struct tasks *tasks, struct task *task)
{
    task->group_gone = task->group_gone || kill(-task->pid, 0) != 0;
    bool over = task->max_output > 0 && output_size(task->output) > task->max_output + OUTPUT_SLACK;
    bool gone = false;
    if (over || (task->group_gone && task->rounds++ % GONE_EVERY == 0)) {
        gone = signal_all(tasks, task, over ? SIGKILL : 0) <= 0;
    }
    if (over) {
        output_trim(task->output,
                    task->max_output); /* for the last time when all had gone before */
    }
    if (gone) {
        bury(task);
    }
}

static void tick_watched(struct tasks *tasks, struct task *task, int64_t now)
{
    task->next_check = now + WATCH_EVERY;
    if (task->state == TASK_LEFTOVER) {
        tick_leftover(tasks, task);
        return;
    }
    if (task->max_output > 0 && output_size(task->output) > task->max_output) {
        task_end(tasks, task, AH_TASK_KILLED, "output limit", 0, SIGKILL);
        task->next_check = now;
    } else if (leader_has_exited(task)) {
        leader_exited(tasks, task); /* the epoll set could not take its pidfd */
    }
}

static void free_dead(struct tasks *tasks)
{
    for (struct task **at = &tasks->first; *at != NULL;) {
        struct task *task = *at;
        if (task->state == TASK_DEAD) {
            *at = task->next;
            tasks->count--;
            task_free(task);
        } else {
            at = &task->next;
        }
    }
}

/* What /proc says once for all tasks that have ended of late. */
struct look {
    bool taken;
    bool unknown_child;
};

static void tick_unsure(struct tasks *tasks, struct task *task, struct look *look, int64_t now)
{
    if (!look->taken) {
        look->unknown_child = has_unknown_child(tasks);
        look->taken = true;
    }
    task->unsure = false;
    task->next_check = now + WATCH_EVERY;
    if ((task->group_gone && !look->unknown_child) || !has_leftovers(tasks, task)) {
        bury(task);
    } else {
        look->taken = false; /* there are more that are known */
    }
}

int64_t tasks_tick(struct tasks *tasks)
{
    free_dead(tasks);
    struct look look = {.taken = false};
    int64_t next = AH_CLOCK_NEVER;
    int64_t now = ah_clock_now();
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        if (task->state == TASK_RUNNING && now >= task->deadline) {
            task_end(tasks, task, AH_TASK_TIMEOUT, "its time was over", task->grace_ns, SIGTERM);
        }
        if (task->state == TASK_ENDING) {
            if (now >= task->kill_at || now >= task->next_check) {
                tick_ending(tasks, task, now);
            }
        } else if (task->unsure && task->state == TASK_LEFTOVER) {
            if (now >= task->next_check || look.taken) {
                tick_unsure(tasks, task, &look, now);
            }
        } else if (task->state != TASK_DEAD && now >= task->next_check) {
            tick_watched(tasks, task, now);
        }
        next = task->deadline < next ? task->deadline : next;
        next = task->kill_at < next ? task->kill_at : next;
        next = task->next_check < next ? task->next_check : next;
    }
    return next;
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
        /* Perhaps it was not among them; but too few only cost a look, too many would miss one. */
        tasks->strays -= tasks->strays > 0 ? 1 : 0;
    }
}
