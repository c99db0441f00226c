/*
 * The runner thread: hands tasks to the supervisor and takes in what it reports.
 */
#include "clock.h"
#include "io.h"
#include "superproc.h"
#include "task_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STOP_PATIENCE (6LL * 1000000000) /* for the supervisor to end everything */
#define DEATHS_MAX 5                     /* supervisors that may die within DEATHS_WINDOW */
#define DEATHS_WINDOW (10LL * 1000000000)
#define QUIET_MS 50         /* without news before the ledger is synced */
#define RETRY_MS 100        /* between tries to push a notice that there was no memory for */
#define SWEEP_RETRY_MS 1000 /* between tries to start a supervisor that ends what one has left */
#define SEND_RETRY_MS 50    /* between looks whether a busy supervisor takes an order */

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
            ah_task_end_here_locked(task, AH_TASK_LOST, "the supervisor of the task died");
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
        runner->inputs_wanted = runner->inputs_wanted || found->state.takes_input;
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
            ah_task_end_here_locked(task, AH_TASK_ERROR, err.msg);
            pthread_mutex_unlock(&runner->lock);
        } else if (!send_packet(runner, &packet)) {
            supervisor_lost(runner); /* this task, too: it may have been received */
        }
        ah_buf_clear(&packet);
        ah_task_unref(task);
    }
}

/* Makes the order to kill the youngest task that somebody wants gone; false when there is none. */
static bool next_kill(struct ah_runner *runner, struct ah_buf *packet)
{
    bool found = false;
    bool failed = false; /* no memory: tried again with the next wake */
    pthread_mutex_lock(&runner->lock);
    struct ah_task *task = runner->kills_wanted ? runner->youngest : NULL;
    for (; task != NULL && !found; task = task->older) {
        if (task->kill_wanted && !task->state.ended) {
            struct ah_link_kill order = {.task = task->number,
                                         .grace_ns = task->kill_grace_ns,
                                         .signal = task->kill_signal,
                                         .by = task->killed_by};
            found = ah_link_put_kill(packet, &order) == 0;
            failed = failed || !found;
            task->kill_wanted = !found;
        }
    }
    runner->kills_wanted = found || failed;
    pthread_mutex_unlock(&runner->lock);
    return found;
}

static bool has_input(const struct ah_task *task)
{
    return task->sent && !task->state.ended && (task->input.len > 0 || task->input_end_wanted);
}

/* Makes the next order to feed a task that the supervisor has; false when there is none. */
static bool next_input(struct ah_runner *runner, struct ah_buf *packet)
{
    bool found = false;
    pthread_mutex_lock(&runner->lock);
    struct ah_task *task = runner->inputs_wanted ? runner->oldest : NULL;
    while (task != NULL && !has_input(task)) {
        task = task->younger;
    }
    if (task != NULL) {
        size_t len = task->input.len < AH_LINK_WRITE_MAX ? task->input.len : AH_LINK_WRITE_MAX;
        bool last = task->input_end_wanted && len == task->input.len;
        struct ah_link_write order = {.task = task->number,
                                      .len = (uint32_t)len,
                                      .data = ah_buf_str(&task->input),
                                      .end = last};
        found = ah_link_put_write(packet, &order) == 0;
        if (found) { /* without memory it stays, and is tried again with the next wake */
            ah_buf_consume(&task->input, len);
            task->input_waits += len;
            task->input_end_wanted = task->input_end_wanted && !last;
        }
    }
    runner->inputs_wanted = task != NULL;
    pthread_mutex_unlock(&runner->lock);
    return found;
}

/* Sends the orders that `next` makes, as long as there are any. */
static void send_orders(struct ah_runner *runner,
                        bool (*next)(struct ah_runner *runner, struct ah_buf *packet))
{
    struct ah_buf packet;
    ah_buf_init(&packet, AH_LINK_MAX);
    while (runner->supervisor != 0 && next(runner, &packet)) {
        if (!send_packet(runner, &packet)) {
            supervisor_lost(runner);
        }
    }
    ah_buf_clear(&packet);
}

/* ---- reports ---- */

static void note_written_locked(struct ah_runner *runner, const struct ah_link_written *written)
{
    struct ah_task *task = ah_task_find_locked(runner, written->task);
    if (task != NULL) {
        task->input_waits -= written->len < task->input_waits ? written->len : task->input_waits;
        task->input_broken = task->input_broken || written->error != 0;
        ah_wake_post(runner->wake, task->wake_id);
    }
}

static void handle_packet(struct ah_runner *runner, size_t len)
{
    struct ah_link_started started;
    struct ah_link_written written;
    struct ah_link_ended ended;
    pthread_mutex_lock(&runner->lock);
    if (ah_link_get_started(runner->packet, len, &started) == 0) {
        struct ah_task *task = ah_task_find_locked(runner, started.task);
        if (task != NULL && !task->state.ended) {
            task->state.status = AH_TASK_RUNNING;
            task->state.pid = (pid_t)started.pid;
            ah_wake_post(runner->wake, task->wake_id);
        }
    } else if (ah_link_get_written(runner->packet, len, &written) == 0) {
        note_written_locked(runner, &written);
    } else if (ah_link_get_ended(runner->packet, len, &ended) == 0) {
        struct ah_task *task = ah_task_find_locked(runner, ended.task);
        if (task != NULL && task->sent) {
            task->started_ns = ah_clock_now() - ended.run_ns;
            ah_task_end_locked(task, (enum ah_task_status)ended.status, ended.code, ended.signal,
                               ended.reason);
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

/* Ends are written before they are told, which survives a crash of either program; a crash of the
 * machine they survive from the next quiet moment on, so that a burst of ends is one fsync. */
static void sync_ledger(struct ah_runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    int fd = runner->ledger_dirty && runner->ledger_path != NULL
                 ? open(runner->ledger_path, O_WRONLY | O_CLOEXEC)
                 : -1;
    runner->ledger_dirty = false;
    pthread_mutex_unlock(&runner->lock);
    if (fd >= 0) {
        fdatasync(fd);
        ah_io_close(&fd);
    }
}

/* How long the thread may sleep: -1 for ever. */
static int sleep_ms(struct ah_runner *runner, bool *ret_stopping)
{
    pthread_mutex_lock(&runner->lock);
    *ret_stopping = runner->stopping;
    ah_task_retry_notices_locked(runner);
    bool sweeping = runner->sweep && runner->supervisor == 0;
    int timeout = runner->owed > 0       ? RETRY_MS
                  : runner->ledger_dirty ? QUIET_MS
                  : sweeping             ? SWEEP_RETRY_MS
                                         : -1;
    pthread_mutex_unlock(&runner->lock);
    return timeout;
}

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

/* What was never handed out ends here, so that it is in the ledger like everything else. */
static void end_queued(struct ah_runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    for (struct ah_task *task = runner->oldest; task != NULL;) {
        struct ah_task *younger = task->younger;
        if (!task->sent) {
            ah_task_end_here_locked(task, AH_TASK_KILLED,
                                    "by the end of agenthost, before it was started");
        }
        task = younger;
    }
    pthread_mutex_unlock(&runner->lock);
}

static void *run_thread(void *argument)
{
    struct ah_runner *runner = argument;
    for (;;) {
        bool stopping;
        int timeout = sleep_ms(runner, &stopping);
        if (stopping) {
            break;
        }
        if (runner->sweep && runner->supervisor == 0) {
            (void)start_supervisor(runner, NULL); /* now: perhaps no other task comes */
        }
        send_orders(runner, next_kill);
        send_queued(runner);
        send_orders(runner, next_input);
        struct pollfd fds[2] = {{.fd = runner->event_fd, .events = POLLIN},
                                {.fd = runner->link, .events = POLLIN}};
        int n = poll(fds, 2, timeout);
        if (n == 0) {
            sync_ledger(runner);
        }
        if (n <= 0) {
            continue;
        }
        if (fds[0].revents != 0) {
            ah_io_event_clear(runner->event_fd);
        }
        if (fds[1].revents != 0 && !receive_packets(runner)) {
            supervisor_lost(runner);
        }
    }
    end_queued(runner);
    stop_supervisor(runner);
    sync_ledger(runner);
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
    free(runner->dir);
    ah_io_close(&runner->ledger_fd);
    free(runner->ledger_path);
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
    runner->ledger_fd = -1;
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

int ah_runner_set_dir(struct ah_runner *runner, const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&runner->lock);
    if (runner->dir == NULL || strcmp(runner->dir, path) != 0) {
        free(runner->dir);
        runner->dir = copy;
        runner->dir_made = false;
        copy = NULL;
    }
    pthread_mutex_unlock(&runner->lock);
    free(copy); /* said again, as an agent does before each task: nothing to make anew */
    return 0;
}

void ah_runner_set_max_running(struct ah_runner *runner, size_t max)
{
    pthread_mutex_lock(&runner->lock);
    runner->max_running = max > 0 ? max : 1;
    pthread_mutex_unlock(&runner->lock);
    ah_io_event_set(runner->event_fd);
}
