#include "task.h"

#include "core/clock.h"
#include "core/io.h"
#include "output.h"
#include "proc.h"

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

enum state { RUNNING, ENDING, LEFTOVER };

struct task {
    struct task *next;
    uint64_t number;
    char *id;
    char *output;
    uint64_t max_output;
    int64_t grace_ns;
    pid_t pid; /* also the number of its group */
    int pidfd; /* -1 once the leader has ended */
    size_t slot;
    enum state state;
    enum ah_link_cause cause;
    int64_t deadline;   /* of the command; AH_CLOCK_NEVER: none */
    int64_t kill_at;    /* ENDING: when the grace is over */
    int64_t next_check; /* ENDING: who is left; else: the output's size */
    int rounds;         /* ENDING: how often KILL was sent; LEFTOVER: how often it was watched */
    bool group_gone;    /* LEFTOVER: the group's number may belong to somebody else by now */
};

static void report_not_started(struct tasks *tasks, uint64_t number, enum ah_link_stage stage,
                               int error)
{
    struct ah_link_ended ended = {
        .task = number, .how = AH_LINK_NOT_STARTED, .value = error, .stage = stage};
    tasks->ended(&ended);
}

static void task_free(struct tasks *tasks, struct task *task)
{
    for (struct task **at = &tasks->first; *at != NULL; at = &(*at)->next) {
        if (*at == task) {
            *at = task->next;
            tasks->count--;
            break;
        }
    }
    ah_io_close(&task->pidfd);
    free(task->id);
    free(task->output);
    free(task);
}

static struct task *task_new(const struct ah_link_spawn *order)
{
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        return NULL;
    }
    task->number = order->task;
    task->pidfd = -1;
    task->id = strdup(order->id);
    task->output = strdup(order->output);
    task->max_output = order->max_output;
    task->grace_ns = order->grace_ns;
    int64_t now = ah_clock_now();
    task->deadline = order->timeout_ns > 0 ? now + order->timeout_ns : AH_CLOCK_NEVER;
    task->next_check = task->max_output > 0 ? now + WATCH_EVERY : AH_CLOCK_NEVER;
    task->kill_at = AH_CLOCK_NEVER;
    if (task->id == NULL || task->output == NULL) {
        free(task->id);
        free(task->output);
        free(task);
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

void tasks_start(struct tasks *tasks, const struct ah_link_spawn *order)
{
    if (tasks->count >= TASKS_MAX) {
        report_not_started(tasks, order->task, AH_LINK_STAGE_LIMIT, EAGAIN);
        return;
    }
    struct task *task = task_new(order);
    if (task == NULL) {
        report_not_started(tasks, order->task, AH_LINK_STAGE_FORK, ENOMEM);
        return;
    }
    task->slot = free_slot(tasks);
    int rc = spawn_start(order, tasks->run, &tasks->files, &tasks->slots[task->slot], &task->pid,
                         &task->pidfd);
    if (rc < 0) {
        report_not_started(tasks, order->task, AH_LINK_STAGE_FORK, -rc);
        task_free(tasks, task);
        return;
    }
    task->next = tasks->first;
    tasks->first = task;
    tasks->count++;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = task};
    if (epoll_ctl(tasks->epoll_fd, EPOLL_CTL_ADD, task->pidfd, &event) != 0) {
        /* No memory in the kernel: found by looking, with the other checks. */
        task->next_check = ah_clock_now() + CHECK_EVERY;
    }
    struct ah_link_started started = {.task = task->number, .pid = task->pid};
    tasks->started(&started);
}

/* ---- signals ---- */

/* Sends signal to the group of the task and to whoever carries its marker; returns how many
 * processes there still are. */
static int signal_all(const struct tasks *tasks, const struct task *task, int signal)
{
    char marker[192];
    snprintf(marker, sizeof marker, AH_LINK_MARKER "=%s:%s", tasks->run, task->id);
    struct proc_match match = {.group = task->group_gone ? 0 : task->pid, .marker = marker};
    if (signal == SIGTERM) {
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
static bool start_ending(struct task *task, enum ah_link_cause cause, int64_t grace_ns)
{
    int64_t now = ah_clock_now();
    if (task->state == ENDING) {
        task->kill_at = now + grace_ns < task->kill_at ? now + grace_ns : task->kill_at;
        return false;
    }
    if (task->state == LEFTOVER) {
        return false;
    }
    task->state = ENDING;
    task->cause = cause;
    task->deadline = AH_CLOCK_NEVER;
    task->kill_at = now + grace_ns;
    task->next_check = now + CHECK_EVERY;
    return true;
}

static void task_end(struct tasks *tasks, struct task *task, enum ah_link_cause cause,
                     int64_t grace_ns)
{
    if (start_ending(task, cause, grace_ns) && grace_ns > 0) {
        /* The group in one step, then who has left it. Each gets one TERM: to many programs a
         * second one means "at once". A child that is not yet in its own session is no group. */
        if (kill(-task->pid, SIGTERM) != 0) {
            kill(task->pid, SIGTERM);
        }
        signal_all(tasks, task, SIGTERM);
    }
}

void tasks_kill(struct tasks *tasks, const struct ah_link_kill *order)
{
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        if (task->number == order->task) {
            task_end(tasks, task, AH_LINK_KILLED, order->grace_ns);
            return;
        }
    }
}

void tasks_end_all(struct tasks *tasks, int64_t grace_ns)
{
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        start_ending(task, AH_LINK_KILLED, grace_ns);
    }
}

/* ---- the end of a task ---- */

/* Whether the command, whose leader is reaped, has left processes. At least one of those is our
 * child now, so they are only looked for when there is a child that is no leader and not known. */
static bool has_leftovers(struct tasks *tasks, struct task *task)
{
    task->group_gone = kill(-task->pid, 0) != 0;
    int known = tasks->strays;
    for (const struct task *t = tasks->first; t != NULL; t = t->next) {
        known += t != task && t->state != LEFTOVER ? 1 : 0;
    }
    int children = proc_count_children();
    if (task->group_gone && children >= 0 && children <= known) {
        return false;
    }
    char marker[192];
    snprintf(marker, sizeof marker, AH_LINK_MARKER "=%s:%s", tasks->run, task->id);
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
    struct ah_link_ended ended = {.task = task->number, .cause = task->cause};
    const struct spawn_slot *slot = &tasks->slots[task->slot];
    if (slot->stage != AH_LINK_STAGE_NONE && task->cause == AH_LINK_BY_ITSELF) {
        ended.how = AH_LINK_NOT_STARTED;
        ended.stage = (uint32_t)slot->stage;
        ended.value = slot->error;
    } else {
        ended.how = info.si_code == CLD_EXITED ? AH_LINK_EXITED : AH_LINK_SIGNALED;
        ended.value = info.si_status;
    }
    if (task->max_output > 0) {
        output_trim(task->output, task->max_output);
    }
    tasks->ended(&ended);
    tasks_reap_adopted(tasks);
    if (task->state == RUNNING && task->max_output > 0 && has_leftovers(tasks, task)) {
        task->state = LEFTOVER;
        task->next_check = ah_clock_now() + WATCH_EVERY;
        task->deadline = AH_CLOCK_NEVER;
    } else {
        task_free(tasks, task);
    }
}

void tasks_leader_exited(struct tasks *tasks, struct task *task)
{
    if (task->pidfd < 0) {
        return;
    }
    epoll_ctl(tasks->epoll_fd, EPOLL_CTL_DEL, task->pidfd, NULL);
    ah_io_close(&task->pidfd);
    if (task->state == RUNNING) {
        finish(tasks, task);
    } else {
        task->next_check = ah_clock_now();
    }
}

static bool leader_has_exited(const struct task *task)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)task->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == task->pid;
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
            if (task->pidfd >= 0) {
                epoll_ctl(tasks->epoll_fd, EPOLL_CTL_DEL, task->pidfd, NULL);
            }
            finish(tasks, task);
        }
    }
}

static void tick_leftover(struct tasks *tasks, struct task *task)
{
    task->group_gone = task->group_gone || kill(-task->pid, 0) != 0;
    bool over = output_size(task->output) > task->max_output + OUTPUT_SLACK;
    bool gone = false;
    if (over || (task->group_gone && task->rounds++ % GONE_EVERY == 0)) {
        gone = signal_all(tasks, task, over ? SIGKILL : 0) <= 0;
    }
    if (over) {
        output_trim(task->output,
                    task->max_output); /* for the last time when all had gone before */
    }
    if (gone) {
        task_free(tasks, task);
    }
}

static void tick_watched(struct tasks *tasks, struct task *task, int64_t now)
{
    task->next_check = now + WATCH_EVERY;
    if (task->state == LEFTOVER) {
        tick_leftover(tasks, task);
        return;
    }
    if (task->max_output > 0 && output_size(task->output) > task->max_output) {
        task_end(tasks, task, AH_LINK_OUTPUT_LIMIT, 0);
        task->next_check = now;
    } else if (leader_has_exited(task)) {
        tasks_leader_exited(tasks, task); /* the epoll set could not take its pidfd */
    }
}

int64_t tasks_tick(struct tasks *tasks)
{
    int64_t next = AH_CLOCK_NEVER;
    int64_t now = ah_clock_now();
    for (struct task *task = tasks->first; task != NULL;) {
        struct task *following = task->next; /* the task may be freed below */
        if (task->state == RUNNING && now >= task->deadline) {
            task_end(tasks, task, AH_LINK_TIMEOUT, task->grace_ns);
        }
        if (task->state == ENDING) {
            if (now >= task->kill_at || now >= task->next_check) {
                tick_ending(tasks, task, now);
            }
        } else if (now >= task->next_check) {
            tick_watched(tasks, task, now);
        }
        task = following;
    }
    for (const struct task *task = tasks->first; task != NULL; task = task->next) {
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
            if (t->pid == info.si_pid && t->state != LEFTOVER) {
                return; /* a leader: reaped with its task; the others wait until then */
            }
        }
        waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
        /* Perhaps it was not among them; but too few only cost a look, too many would miss one. */
        tasks->strays -= tasks->strays > 0 ? 1 : 0;
    }
}
