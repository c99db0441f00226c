#include "task_internal.h"

#include "clock.h"
#include "io.h"
#include "path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* ---- the table ---- */

struct ah_task *ah_task_find_locked(struct ah_runner *runner, uint64_t number)
{
    struct ah_task *task = runner->buckets[number % AH_TASK_BUCKETS];
    while (task != NULL && task->number != number) {
        task = task->next_bucket;
    }
    return task;
}

static void insert_locked(struct ah_runner *runner, struct ah_task *task)
{
    task->older = runner->youngest;
    if (runner->youngest != NULL) {
        runner->youngest->younger = task;
    } else {
        runner->oldest = task;
    }
    runner->youngest = task;
    struct ah_task **bucket = &runner->buckets[task->number % AH_TASK_BUCKETS];
    task->next_bucket = *bucket;
    *bucket = task;
}

static void remove_locked(struct ah_runner *runner, struct ah_task *task)
{
    if (runner->next_queued == task) {
        runner->next_queued = task->younger;
    }
    struct ah_task **at = &runner->buckets[task->number % AH_TASK_BUCKETS];
    while (*at != task) {
        at = &(*at)->next_bucket;
    }
    *at = task->next_bucket;
    *(task->older != NULL ? &task->older->younger : &runner->oldest) = task->younger;
    *(task->younger != NULL ? &task->younger->older : &runner->youngest) = task->older;
    task->older = NULL;
    task->younger = NULL;
}

/* ---- references ---- */

static void task_free(struct ah_task *task)
{
    free(task->command);
    free(task->label);
    free(task->cwd);
    free(task->output);
    free(task->ledger);
    ah_buf_clear(&task->packet);
    ah_buf_clear(&task->input);
    ah_queue_unref(task->queue);
    free(task);
}

static void unref_locked(struct ah_task *task)
{
    if (--task->refs == 0) {
        task_free(task);
    }
}

void ah_task_unref(struct ah_task *task)
{
    if (task != NULL) {
        struct ah_runner *runner = task->runner;
        pthread_mutex_lock(&runner->lock);
        unref_locked(task);
        pthread_mutex_unlock(&runner->lock);
    }
}

void ah_task_table_clear(struct ah_runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    while (runner->oldest != NULL) {
        struct ah_task *task = runner->oldest;
        remove_locked(runner, task);
        unref_locked(task);
    }
    pthread_mutex_unlock(&runner->lock);
}

/* ---- running one ---- */

static char *copy_text(const char *text)
{
    return text != NULL ? strdup(text) : NULL;
}

static int make_dir_locked(struct ah_runner *runner, struct ah_err *err)
{
    if (runner->dir == NULL) {
        return ah_err_set(err, -EINVAL, "no directory for tasks is set");
    }
    if (!runner->dir_made) {
        char *tasks = NULL;
        if (asprintf(&tasks, "%s/tasks", runner->dir) < 0) {
            return ah_err_set(err, -ENOMEM, "out of memory");
        }
        int rc = ah_path_mkdir_private(tasks, err);
        free(tasks);
        if (rc < 0) {
            return rc;
        }
        runner->dir_made = true;
    }
    return 0;
}

/* A number that no task in the table has. */
static int new_number_locked(struct ah_runner *runner, uint32_t *ret_number)
{
    for (int tries = 0; tries < 100; tries++) {
        uint32_t number;
        if (getrandom(&number, sizeof number, 0) == (ssize_t)sizeof number &&
            ah_task_find_locked(runner, number) == NULL) {
            *ret_number = number;
            return 0;
        }
    }
    return -EAGAIN;
}

static int write_order(struct ah_task *task, const struct ah_task_options *options)
{
    bool owed = options->notify && options->queue != NULL;
    struct ah_link_spawn order = {
        .task = task->number,
        .id = task->id,
        .command = task->command,
        .label = task->label != NULL ? task->label : "",
        .cwd = task->cwd,
        .output = task->output,
        .ledger = task->ledger,
        .flags = (owed ? AH_LINK_OWED : 0u) | (options->detached ? AH_LINK_DETACHED : 0u) |
                 (options->with_stdin ? AH_LINK_STDIN : 0u) | (options->pty ? AH_LINK_PTY : 0u),
        .nice = options->nice,
        .timeout_ns = ah_clock_from_seconds(options->timeout),
        .grace_ns = ah_clock_from_seconds(options->grace),
        .max_output = options->max_output,
        .max_memory = options->max_memory,
        .max_cpu = options->max_cpu,
        .max_files = options->max_files,
        .argv = options->argv,
        .env = options->env,
    };
    while (order.argc <= AH_LINK_MAX_ITEMS && options->argv[order.argc] != NULL) {
        order.argc++;
    }
    while (options->env != NULL && order.envc <= AH_LINK_MAX_ITEMS &&
           options->env[order.envc] != NULL) {
        order.envc++;
    }
    return ah_link_put_spawn(&task->packet, &order);
}

/* Copies what the options say into the task. 0, -ENOMEM or -EMSGSIZE. */
static int fill_in(struct ah_task *task, const struct ah_task_options *options)
{
    task->command = copy_text(options->command);
    task->label = copy_text(options->label);
    task->cwd = copy_text(options->cwd);
    task->wake_id = ah_wake_new_id(task->runner->wake);
    task->state = (struct ah_task_state){.code = -1,
                                         .started = ah_clock_wall(),
                                         .notify = options->notify,
                                         .detached = options->detached,
                                         .takes_input = options->with_stdin || options->pty};
    task->started_ns = ah_clock_now();
    if (options->queue != NULL) {
        task->queue = ah_queue_ref(options->queue);
    }
    if (task->command == NULL || task->cwd == NULL || task->output == NULL ||
        task->ledger == NULL || (options->label != NULL && task->label == NULL)) {
        return -ENOMEM;
    }
    return write_order(task, options);
}

/* A place in the table-to-be: directory, thread, number, paths. */
static int prepare(struct ah_runner *runner, struct ah_task *task, struct ah_err *err)
{
    pthread_mutex_lock(&runner->lock);
    int rc = make_dir_locked(runner, err);
    if (rc == 0) {
        rc = ah_runner_start_thread_locked(runner);
        rc = rc == 0 ? new_number_locked(runner, &task->number) : rc;
        if (rc < 0) {
            ah_err_sys(err, rc, "cannot start the task runner");
        }
    }
    if (rc == 0) {
        snprintf(task->id, sizeof task->id, "%08x", task->number);
        if (asprintf(&task->output, "%s/tasks/%s.log", runner->dir, task->id) < 0) {
            task->output = NULL;
        }
        if (asprintf(&task->ledger, "%s/tasks.jsonl", runner->dir) < 0) {
            task->ledger = NULL;
        }
    }
    pthread_mutex_unlock(&runner->lock);
    return rc;
}

int ah_task_run(struct ah_runner *runner, const struct ah_task_options *options,
                struct ah_task **ret_task, struct ah_err *err)
{
    struct ah_task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        return ah_err_set(err, -ENOMEM, "out of memory");
    }
    task->runner = runner;
    task->refs = 2; /* the table's and the caller's */
    ah_buf_init(&task->packet, AH_LINK_MAX);
    ah_buf_init(&task->input, AH_LINK_FEED_MAX);
    int rc = prepare(runner, task, err);
    if (rc == 0) {
        rc = fill_in(task, options);
        if (rc == -EMSGSIZE) {
            rc = ah_err_set(err, -E2BIG,
                            "the command is too long: with its environment it has to fit in %d "
                            "bytes; write it to a file and run that",
                            AH_LINK_MAX);
        } else if (rc < 0) {
            ah_err_set(err, rc, "out of memory");
        }
    }
    if (rc < 0) {
        task_free(task);
        return rc;
    }
    pthread_mutex_lock(&runner->lock);
    /* Before anybody can begin it, so that a crash loses no order without a trace. A full disk is
     * told with the end. */
    (void)ah_task_note_queued_locked(task);
    insert_locked(runner, task);
    runner->queued++;
    pthread_mutex_unlock(&runner->lock);
    ah_io_event_set(runner->event_fd);
    *ret_task = task;
    return 0;
}

/* ---- the end ---- */

/* Forgets the oldest ended tasks beyond AH_TASKS_KEPT. Those whose notice is owed, or not yet
 * acknowledged, stay; the walk is bounded because it is taken at every end. */
static void forget_old_locked(struct ah_runner *runner)
{
    struct ah_task *task = runner->oldest;
    for (int tries = 0; runner->ended > AH_TASKS_KEPT && task != NULL && tries < 64; tries++) {
        struct ah_task *younger = task->younger;
        bool telling = task->notice_owed || (task->notice_seq != 0 && !task->delivered);
        if (task->state.ended && !telling) {
            remove_locked(runner, task);
            runner->ended--;
            unref_locked(task);
        }
        task = younger;
    }
}

void ah_task_end_locked(struct ah_task *task, enum ah_task_status status, int code, int signal,
                        const char *reason)
{
    struct ah_runner *runner = task->runner;
    if (task->state.ended) {
        return;
    }
    if (task->sent) {
        runner->running--;
    } else {
        runner->queued--;
    }
    ah_buf_clear(&task->packet);
    ah_buf_clear(&task->input);
    task->state.status = status;
    task->state.ended = true;
    task->state.code = code;
    task->state.signal = signal;
    task->state.pid = 0;
    task->state.seconds = (double)(ah_clock_now() - task->started_ns) / 1e9;
    snprintf(task->state.reason, sizeof task->state.reason, "%s", reason);
    runner->ended++;
    ah_task_note_dirty_locked(task);
    ah_task_notify_locked(task);
    ah_wake_post(runner->wake, task->wake_id);
    forget_old_locked(runner);
}

void ah_task_end_here_locked(struct ah_task *task, enum ah_task_status status, const char *reason)
{
    if (!task->state.ended) {
        struct ah_task_state before = task->state;
        task->state.status = status;
        task->state.seconds = (double)(ah_clock_now() - task->started_ns) / 1e9;
        snprintf(task->state.reason, sizeof task->state.reason, "%s", reason);
        int rc = ah_task_note_end_locked(task); /* before anybody is told */
        task->state = before;
        char text[256];
        snprintf(text, sizeof text, "%s%s%s", reason,
                 rc < 0 ? "; the ledger could not be written: " : "", rc < 0 ? strerror(-rc) : "");
        ah_task_end_locked(task, status, -1, 0, text);
    }
}

/* ---- asking and telling ---- */

void ah_task_get_state(struct ah_task *task, struct ah_task_state *ret_state)
{
    pthread_mutex_lock(&task->runner->lock);
    *ret_state = task->state;
    if (!task->state.ended) {
        ret_state->seconds = (double)(ah_clock_now() - task->started_ns) / 1e9;
    }
    pthread_mutex_unlock(&task->runner->lock);
}

const char *ah_task_id(const struct ah_task *task)
{
    return task->id;
}

const char *ah_task_command(const struct ah_task *task)
{
    return task->command;
}

const char *ah_task_label(const struct ah_task *task)
{
    return task->label;
}

const char *ah_task_cwd(const struct ah_task *task)
{
    return task->cwd;
}

const char *ah_task_output_path(const struct ah_task *task)
{
    return task->output;
}

uint64_t ah_task_wake_id(const struct ah_task *task)
{
    return task->wake_id;
}

bool ah_task_kill(struct ah_task *task, double grace, const char *by)
{
    return ah_task_kill_with(task, 0, grace, by);
}

bool ah_task_kill_with(struct ah_task *task, int signal, double grace, const char *by)
{
    struct ah_runner *runner = task->runner;
    pthread_mutex_lock(&runner->lock);
    bool alive = !task->state.ended;
    if (alive) {
        snprintf(task->killed_by, sizeof task->killed_by, "%s", by);
        if (task->sent) {
            int64_t grace_ns = ah_clock_from_seconds(grace);
            if (!task->kill_wanted || grace_ns < task->kill_grace_ns) {
                task->kill_grace_ns = grace_ns;
            }
            task->kill_wanted = true;
            task->kill_signal = (uint32_t)signal;
            runner->kills_wanted = true;
        } else {
            char reason[128];
            snprintf(reason, sizeof reason, "by %s, before it was started", task->killed_by);
            ah_task_end_here_locked(task, AH_TASK_KILLED, reason);
        }
    }
    pthread_mutex_unlock(&runner->lock);
    ah_io_event_set(runner->event_fd);
    return alive;
}

int ah_task_write(struct ah_task *task, const void *data, size_t len, bool end, size_t *ret_taken)
{
    struct ah_runner *runner = task->runner;
    pthread_mutex_lock(&runner->lock);
    int rc = 0;
    size_t room = AH_LINK_FEED_MAX - task->input_waits - task->input.len;
    size_t taken = len < room ? len : room;
    if (!task->state.takes_input) {
        rc = -EINVAL;
    } else if (task->state.ended || task->input_broken || task->input_ended) {
        rc = -EPIPE;
    } else {
        rc = ah_buf_add(&task->input, data, taken);
    }
    if (rc == 0) {
        task->input_ended = end && taken == len;
        task->input_end_wanted = task->input_ended;
        runner->inputs_wanted = true;
        *ret_taken = taken;
    }
    pthread_mutex_unlock(&runner->lock);
    ah_io_event_set(runner->event_fd);
    return rc;
}

struct ah_task *ah_runner_find(struct ah_runner *runner, const char *id)
{
    if (strlen(id) != 8 || strspn(id, "0123456789abcdef") != 8) {
        return NULL;
    }
    pthread_mutex_lock(&runner->lock);
    struct ah_task *task = ah_task_find_locked(runner, strtoul(id, NULL, 16));
    if (task != NULL) {
        task->refs++;
    }
    pthread_mutex_unlock(&runner->lock);
    return task;
}

int ah_runner_list(struct ah_runner *runner, struct ah_task ***ret_tasks, size_t *ret_count)
{
    pthread_mutex_lock(&runner->lock);
    size_t count = runner->queued + runner->running + runner->ended;
    struct ah_task **tasks = calloc(count + 1, sizeof(struct ah_task *));
    if (tasks == NULL) {
        pthread_mutex_unlock(&runner->lock);
        return -ENOMEM;
    }
    size_t n = 0;
    for (struct ah_task *t = runner->oldest; t != NULL; t = t->younger) {
        t->refs++;
        tasks[n++] = t;
    }
    pthread_mutex_unlock(&runner->lock);
    *ret_tasks = tasks;
    *ret_count = n;
    return 0;
}
