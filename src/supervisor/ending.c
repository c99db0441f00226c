#include "ending.h"

#include "core/clock.h"
#include "look.h"
#include "proc.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#define CHECK_MAX 10   /* times ENDING_CHECK: the longest time between two looks */
#define KILL_ROUNDS 50 /* then what cannot be killed (stuck in the kernel) is given up */

int ending_signal(struct tasks *tasks, const struct task *task, int signal)
{
    char marker[192];
    task_write_marker(tasks, task, marker, sizeof marker);
    struct proc_match match = {.group = task->group_gone ? 0 : task->pid, .marker = marker};
    if (signal != 0 && signal != SIGKILL) {
        match.spared = task->pid; /* had it from ending_begin */
    }
    int left = proc_signal_in(&tasks->scan, &match, signal);
    if (proc_is_shortage(left)) {
        left = 1; /* that passes, so nobody is taken for gone meanwhile */
    }
    if (left < 0 && signal != 0 && !task->group_gone) {
        /* No /proc: at least the group. */
        left = kill(-task->pid, signal) == 0 ? 1 : 0;
    }
    return left;
}

static void signal_group(const struct task *task, int signal)
{
    /* A child that is not yet in its own session is no group. */
    pid_t whom = kill(-task->pid, signal) == 0 ? -task->pid : task->pid;
    if (whom > 0) {
        kill(whom, signal);
    }
    if (signal != SIGKILL) {
        kill(whom, SIGCONT); /* one that is stopped would not take it before KILL */
    }
}

bool ending_start(struct tasks *tasks, struct task *task, enum ah_task_status end_as,
                  const char *reason, int64_t grace_ns)
{
    int64_t now = ah_clock_now();
    if (task->state == TASK_ENDING) {
        task->kill_at = now + grace_ns < task->kill_at ? now + grace_ns : task->kill_at;
        task_reschedule(tasks, task);
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
    task->next_check = task->unheard ? now + ENDING_CHECK : AH_CLOCK_NEVER; /* until it exits */
    task_reschedule(tasks, task);
    return true;
}

void ending_begin(struct tasks *tasks, struct task *task, enum ah_task_status end_as,
                  const char *reason, int64_t grace_ns, int signal)
{
    if (ending_start(tasks, task, end_as, reason, grace_ns) && grace_ns > 0) {
        /* The group in one step, then who has left it. Each gets one TERM: to many programs a
         * second one means "at once". */
        signal_group(task, signal);
        ending_signal(tasks, task, signal);
    }
}

bool ending_leader_exited(const struct task *task)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)task->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == task->pid;
}

/* A look costs what the machine's /proc costs: those of several tasks fall together, and become
 * rarer the longer it takes. */
static int64_t next_look(struct task *task, int64_t now)
{
    int64_t times = 1 + task->rounds++ / 2;
    int64_t gap = ENDING_CHECK * (times < CHECK_MAX ? times : CHECK_MAX);
    return (now + gap + ENDING_CHECK - 1) / ENDING_CHECK * ENDING_CHECK;
}

/* Whether the leader has exited and nobody is left. */
static bool is_over(struct tasks *tasks, struct task *task, int64_t now)
{
    bool exited = task->pidfd < 0 || ending_leader_exited(task);
    task->next_check = exited || task->unheard ? next_look(task, now) : AH_CLOCK_NEVER;
    return exited && (task->kills >= KILL_ROUNDS || ending_signal(tasks, task, 0) <= 0);
}

bool ending_tick(struct tasks *tasks, struct task *task, int64_t now)
{
    if (now >= task->next_look && look_is_over(tasks, task, task->max_output)) {
        task->kill_at = now; /* no grace for a flood */
        look_end(tasks, task);
    }
    if (now >= task->next_check && is_over(tasks, task, now)) {
        return true;
    }
    if (now >= task->kill_at) {
        task->kills++;
        signal_group(task, SIGKILL);
        ending_signal(tasks, task, SIGKILL);
        task->kill_at = now + ENDING_CHECK * task->kills;
        if (task->next_check != AH_CLOCK_NEVER) {
            task->rounds = 0;
            task->next_check = next_look(task, now);
        }
    }
    return false;
}
