/*
 * The runner thread: hands tasks to the supervisor and takes in what it reports.
 */
#include "clock.h"
#include "io.h"
#include "superproc.h"
#include "task_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define STOP_PATIENCE (6LL * 1000000000) /* for the supervisor to end everything */
#define DEATHS_MAX 5                     /* supervisors that may die within DEATHS_WINDOW */
#define DEATHS_WINDOW (10LL * 1000000000)
#define RETRY_MS 100     /* between tries to push a notice that there was no memory for */
#define SEND_RETRY_MS 50 /* between looks whether a busy supervisor takes an order */

/* ---- ends ---- */

static const char *describe_error(const struct ah_task *task, const struct ah_link_ended *ended,
                                  char *text, size_t size)
{
    const char *why = strerror(ended->value);
    switch (ended->stage) {
    case AH_LINK_STAGE_CWD:
        snprintf(text, size, "cannot run in the directory %s: %s", task->cwd, why);
        break;
    case AH_LINK_STAGE_EXEC:
        if (ended->value == ENOENT) {
            snprintf(text, size, "command not found: %s", task->command);
        } else {
            snprintf(text, size, "cannot execute %s: %s", task->command, why);
        }
        break;
    case AH_LINK_STAGE_OUTPUT:
        snprintf(text, size, "cannot write the output file %s: %s", task->output, why);
        break;
    case AH_LINK_STAGE_LIMIT:
        snprintf(text, size, "too many tasks run at once");
        break;
    default:
        snprintf(text, size, "cannot start a process: %s", why);
        break;
    }
    return text;
}

static void end_as_told_locked(struct ah_task *task, const struct ah_link_ended *ended)
{
    char reason[256] = "";
    enum ah_task_status status;
    int code = ended->how == AH_LINK_EXITED ? ended->value : -1;
    int signal = ended->how == AH_LINK_SIGNALED ? ended->value : 0;
    if (ended->how == AH_LINK_NOT_STARTED) {
        status = AH_TASK_ERROR;
        describe_error(task, ended, reason, sizeof reason);
    } else if (ended->cause == AH_LINK_TIMEOUT) {
        status = AH_TASK_TIMEOUT;
        snprintf(reason, sizeof reason, "its time was over");
    } else if (ended->cause == AH_LINK_OUTPUT_LIMIT) {
        status = AH_TASK_KILLED;
        snprintf(reason, sizeof reason, "output limit");
    } else if (ended->cause == AH_LINK_KILLED) {
        status = AH_TASK_KILLED;
        snprintf(reason, sizeof reason, "by %s", task->killed_by);
    } else {
        status = code == 0 ? AH_TASK_COMPLETED : AH_TASK_FAILED;
    }
    ah_task_end_locked(task, status, code, signal, reason);
}

/* ---- the supervisor ---- */

static bool receive_packets(struct ah_runner *runner);

static void supervisor_lost(struct ah_runner *runner)
{
    (void)receive_packets(runner); /* what it could still tell */
    ah_superproc_stop(runner->supervisor, &runner->link, 0);
    runner->supervisor = 0;
    runner->sweep = true;
    int64_t now = ah_clock_now();
    if (runner->deaths == 0 || now - runner->first_death > DEATHS_WINDOW) {
        runner->deaths = 0;
        runner->first_death = now;
    }
    runner->deaths++;
    pthread_mutex_lock(&runner->lock);
    for (struct ah_task *task = runner->oldest; task != NULL;) {
        struct ah_task *younger = task->younger;
        if (task->sent) {
            ah_task_end_locked(task, AH_TASK_LOST, -1, 0, "the supervisor of the task died");
        }
        task = younger;
    }
    pthread_mutex_unlock(&runner->lock);
}

static bool is_stopping(struct ah_runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    bool stopping = runner->stopping;
    pthread_mutex_unlock(&runner->lock);
    return stopping;
}

/* Sends one packet; false when the supervisor has gone. Not with the lock held: it waits while the
 * supervisor is busy. When the runner stops meanwhile the packet is dropped, for all tasks end. */
static bool send_packet(struct ah_runner *runner, const struct ah_buf *packet)
{
    for (;;) {
        ssize_t n = send(runner->link, packet->data, packet->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            return true;
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) {
            return false;
        }
        struct pollfd room = {.fd = errno == EAGAIN ? runner->link : -1, .events = POLLOUT};
        if (is_stopping(runner)) {
            return true;
        }
        poll(&room, 1, SEND_RETRY_MS);
    }
}

static int start_supervisor(struct ah_runner *runner, struct ah_err *err)
{
    if (runner->deaths >= DEATHS_MAX && ah_clock_now() - runner->first_death <= DEATHS_WINDOW) {
        return ah_err_set(err, -EAGAIN, "the supervisor died %d times in a row; try again later",
                          runner->deaths);
    }
    int rc = ah_superproc_start(runner->supervisor_path, &runner->supervisor, &runner->link, err);
    if (rc < 0) {
        return rc;
    }
    struct ah_buf packet;
    ah_buf_init(&packet, AH_LINK_MAX);
    struct ah_link_hello hello = {.run = runner->run, .sweep = runner->sweep};
    rc = ah_link_put_hello(&packet, &hello);
    if (rc == 0 && !send_packet(runner, &packet)) {
        rc = -EPIPE;
    }
    ah_buf_clear(&packet);
    if (rc < 0) {
        supervisor_lost(runner);
        return ah_err_sys(err, rc, "cannot talk to the supervisor");
    }
    runner->sweep = false; /* it does that first of all; if it dies, the next one will */
    return 0;
}

/* ---- orders ---- */

/* The oldest task that waits, when there is room for it. Its packet moves to *ret_packet, so that
 * it can be sent without the lock. */
static struct ah_task *next_to_send(struct ah_runner *runner, struct ah_buf *ret_packet)
{
    struct ah_task *found = NULL;
    pthread_mutex_lock(&runner->lock);
    if (runner->queued > 0 && runner->running < runner->max_running && !runner->stopping) {
        found = runner->next_queued != NULL ? runner->next_queued : runner->oldest;
        while (found != NULL && (found->sent || found->state.ended)) {
            found = found->younger;
        }
        runner->next_queued = found != NULL ? found : runner->youngest;
    }
    if (found != NULL) {
        found->refs++;
        found->sent = true;
        found->started_ns = ah_clock_now();
        runner->queued--;
        runner->running++;
        *ret_packet = found->packet;
        ah_buf_init(&found->packet, AH_LINK_MAX);
    }
    pthread_mutex_unlock(&runner->lock);
    return found;
}

static void send_queued(struct ah_runner *runner)
{
    for (;;) {
        struct ah_buf packet;
        struct ah_task *task = next_to_send(runner, &packet);
        if (task == NULL) {
            return;
        }
        struct ah_err err;
        int rc = runner->supervisor != 0 ? 0 : start_supervisor(runner, &err);
        if (rc < 0) {
            pthread_mutex_lock(&runner->lock);
            ah_task_end_locked(task, AH_TASK_ERROR, -1, 0, err.msg);
            pthread_mutex_unlock(&runner->lock);
        } else if (!send_packet(runner, &packet)) {
            supervisor_lost(runner); /* this task, too: it may have been received */
        }
        ah_buf_clear(&packet);
        ah_task_unref(task);
    }
}

/* The order to kill the youngest task that somebody wants gone; false when there is none. */
static bool next_kill(struct ah_runner *runner, struct ah_link_kill *ret_order)
{
    bool found = false;
    pthread_mutex_lock(&runner->lock);
    struct ah_task *task = runner->kills_wanted ? runner->youngest : NULL;
    for (; task != NULL && !found; task = task->older) {
        if (task->kill_wanted && !task->state.ended) {
            task->kill_wanted = false;
            *ret_order =
                (struct ah_link_kill){.task = task->number, .grace_ns = task->kill_grace_ns};
            found = true;
        }
    }
    runner->kills_wanted = found;
    pthread_mutex_unlock(&runner->lock);
    return found;
}

static void send_kills(struct ah_runner *runner)
{
    struct ah_link_kill order;
    while (runner->supervisor != 0 && next_kill(runner, &order)) {
        struct ah_buf packet;
        ah_buf_init(&packet, AH_LINK_MAX);
        if (ah_link_put_kill(&packet, &order) < 0 || !send_packet(runner, &packet)) {
            supervisor_lost(runner);
        }
        ah_buf_clear(&packet);
    }
}

/* ---- reports ---- */

static void handle_packet(struct ah_runner *runner, size_t len)
{
    struct ah_link_started started;
    struct ah_link_ended ended;
    pthread_mutex_lock(&runner->lock);
    if (ah_link_get_started(runner->packet, len, &started) == 0) {
        struct ah_task *task = ah_task_find_locked(runner, started.task);
        if (task != NULL && !task->state.ended) {
            task->state.status = AH_TASK_RUNNING;
            task->state.pid = (pid_t)started.pid;
            ah_wake_post(runner->wake, task->wake_id);
        }
    } else if (ah_link_get_ended(runner->packet, len, &ended) == 0) {
        struct ah_task *task = ah_task_find_locked(runner, ended.task);
        if (task != NULL && task->sent) {
            end_as_told_locked(task, &ended);
        }
    }
    pthread_mutex_unlock(&runner->lock);
}

/* Takes in all that has been reported; false when the supervisor has gone. */
static bool receive_packets(struct ah_runner *runner)
{
    for (;;) {
        ssize_t n = recv(runner->link, runner->packet, AH_LINK_MAX, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == ECONNRESET)) {
            continue; /* after a reset there still is what was sent before it */
        }
        if (n <= 0) {
            return n < 0 && errno == EAGAIN;
        }
        handle_packet(runner, (size_t)n);
    }
}

/* ---- the thread ---- */

/* Ends everything. A supervisor that had to be killed, or died before, may have left processes to
 * which its death meant nothing: then another one sweeps them up. */
static void stop_supervisor(struct ah_runner *runner)
{
    runner->deaths = 0;
    for (int tries = 0; tries < 2; tries++) {
        if (runner->supervisor == 0 && (!runner->sweep || start_supervisor(runner, NULL) < 0)) {
            return;
        }
        runner->sweep = !ah_superproc_stop(runner->supervisor, &runner->link, STOP_PATIENCE);
        runner->supervisor = 0;
    }
}

static void *run_thread(void *argument)
{
    struct ah_runner *runner = argument;
    for (;;) {
        pthread_mutex_lock(&runner->lock);
        bool stopping = runner->stopping;
        ah_task_retry_notices_locked(runner);
        int timeout = runner->owed > 0 ? RETRY_MS : -1;
        pthread_mutex_unlock(&runner->lock);
        if (stopping) {
            break;
        }
        if (runner->sweep && runner->supervisor == 0) {
            (void)start_supervisor(runner, NULL); /* now: perhaps no other task comes */
        }
        send_kills(runner);
        send_queued(runner);
        struct pollfd fds[2] = {{.fd = runner->event_fd, .events = POLLIN},
                                {.fd = runner->link, .events = POLLIN}};
        if (poll(fds, 2, timeout) <= 0) {
            continue;
        }
        if (fds[0].revents != 0) {
            ah_io_event_clear(runner->event_fd);
        }
        if (fds[1].revents != 0 && !receive_packets(runner)) {
            supervisor_lost(runner);
        }
    }
    stop_supervisor(runner);
    return NULL;
}

int ah_runner_start_thread_locked(struct ah_runner *runner)
{
    if (runner->thread_started) {
        return 0;
    }
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&runner->thread, NULL, run_thread, runner);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    runner->thread_started = rc == 0;
    if (rc == 0) {
        pthread_setname_np(runner->thread, "runner");
    }
    return rc;
}

static void runner_destroy(struct ah_runner *runner)
{
    ah_task_table_clear(runner);
    ah_io_close(&runner->event_fd);
    pthread_mutex_destroy(&runner->lock);
    free(runner->supervisor_path);
    free(runner->run);
    free(runner->output_dir);
    free(runner->packet);
    free(runner);
}

int ah_runner_new(const struct ah_runner_options *options, struct ah_runner **ret_runner,
                  struct ah_err *err)
{
    struct ah_runner *runner = calloc(1, sizeof *runner);
    if (runner == NULL) {
        return ah_err_set(err, -ENOMEM, "out of memory");
    }
    pthread_mutex_init(&runner->lock, NULL);
    runner->wake = options->wake;
    runner->link = -1;
    runner->max_running = 64;
    runner->event_fd = ah_io_eventfd();
    runner->supervisor_path = strdup(options->supervisor_path);
    runner->run = strdup(options->run);
    runner->packet = malloc(AH_LINK_MAX);
    int rc = runner->event_fd < 0 ? runner->event_fd : 0;
    if (runner->supervisor_path == NULL || runner->run == NULL || runner->packet == NULL) {
        rc = -ENOMEM;
    }
    if (rc < 0) {
        runner_destroy(runner);
        return ah_err_sys(err, rc, "cannot start the task runner");
    }
    *ret_runner = runner;
    return 0;
}

void ah_runner_free(struct ah_runner *runner)
{
    if (runner == NULL) {
        return;
    }
    pthread_mutex_lock(&runner->lock);
    runner->stopping = true;
    bool started = runner->thread_started;
    pthread_mutex_unlock(&runner->lock);
    ah_io_event_set(runner->event_fd);
    if (started) {
        pthread_join(runner->thread, NULL);
    }
    runner_destroy(runner);
}

int ah_runner_set_output_dir(struct ah_runner *runner, const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&runner->lock);
    free(runner->output_dir);
    runner->output_dir = copy;
    runner->output_dir_made = false;
    pthread_mutex_unlock(&runner->lock);
    return 0;
}

void ah_runner_set_max_running(struct ah_runner *runner, size_t max)
{
    pthread_mutex_lock(&runner->lock);
    runner->max_running = max > 0 ? max : 1;
    pthread_mutex_unlock(&runner->lock);
    ah_io_event_set(runner->event_fd);
}
