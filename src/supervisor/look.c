#include "look.h"

#include "core/clock.h"
#include "core/io.h"
#include "output.h"
#include "request.h"

#include <sys/inotify.h>
#include <unistd.h>

#define SLOT (8LL * 1000000) /* looks that have the time fall together in such steps */

int look_open(void)
{
    return inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
}

/* ---- how long until the next look ---- */

static int64_t gap_of_writer(const struct tasks *tasks, uint64_t left)
{
    int64_t least = LOOK_MIN + LOOK_SHARE * (int64_t)(tasks->count - tasks->asleep);
    int64_t gap = left < LOOK_FASTEST ? (int64_t)(left * 1000000000 / LOOK_FASTEST) : LOOK_MAX;
    gap = gap < LOOK_MAX ? gap : LOOK_MAX;
    return gap > least ? gap : least;
}

static int64_t gap_of_blind(const struct task *task, int64_t gap)
{
    int64_t doubled = task->still < 8 ? LOOK_MIN << task->still : LOOK_BLIND;
    doubled = doubled < LOOK_BLIND ? doubled : LOOK_BLIND;
    return gap > doubled ? gap : doubled;
}

static uint64_t left_of(const struct task *task)
{
    return task->max_output > task->seen ? task->max_output - task->seen : 0;
}

static void look_again(struct tasks *tasks, struct task *task)
{
    int64_t gap = gap_of_writer(tasks, left_of(task));
    int64_t when = ah_clock_now() + gap;
    task->next_look = gap > 2 * SLOT ? when / SLOT * SLOT : when;
}

/* ---- quiet ones ---- */

static struct task **chain_of(struct tasks *tasks, int watch)
{
    return &tasks->watched[(unsigned)watch % WATCH_CHAINS];
}

static struct task *find_watched(struct tasks *tasks, int watch)
{
    struct task *task = *chain_of(tasks, watch);
    while (task != NULL && task->watch != watch) {
        task = task->next_watched;
    }
    return task;
}

static void forget_watch(struct tasks *tasks, struct task *task)
{
    if (task->watch < 0) {
        return;
    }
    struct task **at = chain_of(tasks, task->watch);
    while (*at != task) {
        at = &(*at)->next_watched;
    }
    *at = task->next_watched;
    task->watch = -1;
    tasks->asleep--;
}

/* Sees to it that the next write is told, once. False when that cannot be had. A command may have
 * put anything in the place of its output: the watch of a directory, where requests arrive, is not
 * to be changed. */
static bool fall_asleep(struct tasks *tasks, struct task *task)
{
    if (task->watch >= 0) {
        return true;
    }
    task->watch = inotify_add_watch(tasks->inotify_fd, task->output,
                                    IN_MODIFY | IN_ONESHOT | IN_DONT_FOLLOW | IN_MASK_CREATE);
    if (task->watch < 0) {
        return false;
    }
    struct task **chain = chain_of(tasks, task->watch);
    task->next_watched = *chain;
    *chain = task;
    tasks->asleep++;
    return true;
}

/* Looks at quiet tasks fall together, so that they are one wake. */
static int64_t next_quiet_look(int64_t now)
{
    int64_t slot = LOOK_QUIET / 2;
    return (now + LOOK_QUIET) / slot * slot;
}

static void wake_up(struct tasks *tasks, struct task *task)
{
    forget_watch(tasks, task);
    task->still = 0;
    look_again(tasks, task);
    task_reschedule(tasks, task);
}

/* ---- looking ---- */

void look_begin(struct tasks *tasks, struct task *task)
{
    task->watch = -1;
    if (task->max_output > 0) {
        look_again(tasks, task);
    }
}

bool look_is_over(struct tasks *tasks, struct task *task, uint64_t max)
{
    uint64_t size = output_size(task->output);
    task->still = size == task->seen ? task->still + 1 : 0;
    task->seen = size;
    look_again(tasks, task);
    if (size > max) {
        return true;
    }
    if (task->still > 0) {
        bool was_asleep = task->watch >= 0;
        if (!fall_asleep(tasks, task)) {
            task->next_look =
                ah_clock_now() + gap_of_blind(task, gap_of_writer(tasks, left_of(task)));
        } else if (was_asleep || output_size(task->output) == size) {
            task->next_look = next_quiet_look(ah_clock_now());
        } /* else it wrote before it was watched */
    }
    return false;
}

void look_end(struct tasks *tasks, struct task *task)
{
    if (task->watch >= 0) {
        inotify_rm_watch(tasks->inotify_fd, task->watch);
    }
    forget_watch(tasks, task);
    task->next_look = AH_CLOCK_NEVER;
}

/* A write, or the end of the watch: of a file that was removed, or that has told of a write. */
static void take_event(struct tasks *tasks, int watch)
{
    struct task *task = find_watched(tasks, watch);
    if (task != NULL) {
        wake_up(tasks, task);
    }
}

/* Anybody may have written, and asked for anything. */
static void take_overflow(struct tasks *tasks)
{
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        if (task->watch >= 0) {
            inotify_rm_watch(tasks->inotify_fd, task->watch);
            wake_up(tasks, task);
        }
        request_take(tasks, task);
    }
}

void look_take_events(struct tasks *tasks)
{
    /* One batch: more of them keep no ends and deadlines waiting. */
    _Alignas(struct inotify_event) char data[16 * 1024];
    ssize_t n = ah_io_read(tasks->inotify_fd, data, sizeof data);
    for (char *at = data; at < data + n;) {
        const struct inotify_event *event = (const struct inotify_event *)at;
        if (event->len > 0) {
            request_arrived(tasks, event->name);
        } else if ((event->mask & IN_Q_OVERFLOW) != 0) {
            take_overflow(tasks);
        } else {
            take_event(tasks, event->wd);
            if ((event->mask & IN_IGNORED) != 0) {
                request_watch_ended(tasks, event->wd);
            }
        }
        at += sizeof *event + event->len;
    }
}
