#include "leftover.h"

#include "core/clock.h"
#include "ending.h"
#include "look.h"
#include "output.h"
#include "proc.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>

#define MS 1000000LL
#define SOON (20 * MS)         /* after an end: have they left anything, have some gone? */
#define LATER (250 * MS)       /* nobody could tell: again */
#define GONE_EVERY (5000 * MS) /* have some gone, although nobody told? */
#define REST 20                /* times what a look has cost: no look of that kind */

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void leftover_begin(struct tasks *tasks, struct task *task)
{
    task->state = TASK_LEFTOVER;
    tasks->leftovers++;
    task->unsure = true;
    task->group_gone = kill(-task->pid, 0) != 0;
    task->deadline = AH_CLOCK_NEVER;
    task->next_check = AH_CLOCK_NEVER;
    tasks->unsure_at = sooner(tasks->unsure_at, ah_clock_now() + SOON);
}

/* Its number is not ours any more when nobody is in the group, or when a process has the number,
 * which a leader that was reaped has not. */
static void check_group(struct task *task)
{
    task->group_gone =
        task->group_gone || kill(-task->pid, 0) != 0 || kill(task->pid, 0) == 0 || errno == EPERM;
}

void leftover_tick(struct tasks *tasks, struct task *task)
{
    if (!look_is_over(tasks, task, task->max_output + OUTPUT_SLACK)) {
        return;
    }
    check_group(task);
    bool gone = ending_signal(tasks, task, SIGKILL) <= 0;
    /* For the last time when all had gone before. */
    output_trim(task->output, task->max_output);
    if (gone) {
        task_bury(tasks, task);
    }
}

void leftover_child_ended(struct tasks *tasks)
{
    /* Perhaps it was not among them; but too few only cost a look, too many would miss one. */
    tasks->strays -= tasks->strays > 0 ? 1 : 0;
    if (tasks->leftovers > 0) {
        int64_t soon = ah_clock_now() + SOON;
        soon = soon > tasks->leftovers_rest ? soon : tasks->leftovers_rest;
        tasks->leftovers_at = sooner(tasks->leftovers_at, soon);
    }
}

/* ---- those that have just ended ---- */

/* How many children there are that are neither the leader of a task nor known to be left by one. */
static int count_unknown_children(const struct tasks *tasks)
{
    int known = tasks->strays;
    for (const struct task *t = tasks->first; t != NULL; t = t->next) {
        known += t->state == TASK_RUNNING || t->state == TASK_ENDING ? 1 : 0;
    }
    int children = proc_count_children();
    return children < 0 ? INT_MAX : children - known;
}

/* How many processes the command, whose leader is reaped, has left: at least one of those is our
 * child now. Or a negative errno. */
static int count_left(struct tasks *tasks, const struct task *task)
{
    char marker[192];
    task_write_marker(tasks, task, marker, sizeof marker);
    struct proc_match match = {
        .group = task->group_gone ? 0 : task->pid, .marker = marker, .only_children = true};
    return proc_signal_in(&tasks->scan, &match, 0);
}

static void look_at_unsure(struct tasks *tasks)
{
    int unknown = count_unknown_children(tasks);
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        if (task->state != TASK_LEFTOVER || !task->unsure) {
            continue;
        }
        int left = task->group_gone && unknown <= 0 ? 0 : count_left(tasks, task);
        if (proc_is_shortage(left)) {
            tasks->unsure_at = ah_clock_now() + LATER; /* that passes */
            continue;
        }
        left = left > 0 ? left : 0;
        task->unsure = false;
        tasks->strays += left;
        unknown -= left;
        if (left == 0) {
            task_bury(tasks, task);
        }
    }
}

/* ---- those that have left something ---- */

static void look_who_has_gone(struct tasks *tasks)
{
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        if (task->state == TASK_LEFTOVER && !task->unsure) {
            check_group(task);
            if (task->group_gone && ending_signal(tasks, task, 0) <= 0) {
                task_bury(tasks, task);
            }
        }
    }
}

int64_t leftover_look(struct tasks *tasks)
{
    int64_t now = ah_clock_now();
    if (now >= tasks->unsure_at) {
        tasks->unsure_at = AH_CLOCK_NEVER;
        look_at_unsure(tasks);
    }
    if (now >= tasks->leftovers_at) {
        look_who_has_gone(tasks);
        int64_t after = ah_clock_now();
        tasks->leftovers_rest = after + (after - now) * REST;
        tasks->leftovers_at = AH_CLOCK_NEVER;
    }
    if (tasks->leftovers > 0 && tasks->leftovers_at == AH_CLOCK_NEVER) {
        int64_t later = now + GONE_EVERY;
        tasks->leftovers_at = later > tasks->leftovers_rest ? later : tasks->leftovers_rest;
    }
    return sooner(tasks->unsure_at, tasks->leftovers > 0 ? tasks->leftovers_at : AH_CLOCK_NEVER);
}
