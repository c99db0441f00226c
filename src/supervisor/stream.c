#include "stream.h"

#include "core/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

static bool is_terminal(const struct task *task)
{
    return task->stream_output >= 0;
}

static void watch_stream(struct tasks *tasks, struct task *task, int operation)
{
    struct epoll_event event = {.events = (is_terminal(task) ? EPOLLIN : 0) |
                                          (task->waiting.len > 0 ? EPOLLOUT : 0),
                                .data.ptr = &task->stream_watch};
    epoll_ctl(tasks->epoll_fd, operation, task->stream, &event);
}

void stream_open(struct tasks *tasks, struct task *task, int fd, bool terminal)
{
    task->stream = fd;
    task->stream_watch = (struct watch){.kind = WATCH_STREAM, .task = task};
    ah_buf_init(&task->waiting, AH_LINK_FEED_MAX + 1); /* and a Ctrl-D */
    if (fd < 0) {
        return;
    }
    if (terminal) {
        task->stream_output = open(
            task->output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    }
    watch_stream(tasks, task, EPOLL_CTL_ADD);
}

static void close_stream(struct tasks *tasks, struct task *task)
{
    if (task->stream >= 0) {
        epoll_ctl(tasks->epoll_fd, EPOLL_CTL_DEL, task->stream, NULL);
    }
    ah_io_close(&task->stream);
    ah_io_close(&task->stream_output);
    ah_buf_clear(&task->waiting);
}

static void report(struct tasks *tasks, const struct task *task, size_t len, int error)
{
    if (len > 0) {
        struct ah_link_written written = {
            .task = task->number, .len = (uint32_t)len, .error = error};
        tasks->written(&written);
    }
}

/* Writes what the command takes now. */
static void flush(struct tasks *tasks, struct task *task)
{
    while (task->waiting.len > 0) {
        ssize_t n = write(task->stream, task->waiting.data, task->waiting.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            report(tasks, task, task->waiting.len, errno);
            close_stream(tasks, task);
            return;
        }
        ah_buf_consume(&task->waiting, (size_t)n);
        report(tasks, task, (size_t)n, 0);
    }
    if (task->waiting.len == 0 && task->stream_end) {
        if (is_terminal(task)) {
            task->stream_end = false; /* Ctrl-D has been written; the output goes on */
        } else {
            close_stream(tasks, task);
            return;
        }
    }
    watch_stream(tasks, task, EPOLL_CTL_MOD);
}

void stream_write(struct tasks *tasks, struct task *task, const struct ah_link_write *order)
{
    if (task->stream < 0 || task->stream_end ||
        ah_buf_add(&task->waiting, order->data, order->len) < 0) {
        report(tasks, task, order->len, EPIPE);
        return;
    }
    if (order->end != 0) {
        task->stream_end = true;
        if (is_terminal(task)) {
            (void)ah_buf_add(&task->waiting, "\004", 1);
        }
    }
    flush(tasks, task);
}

/* One read of a terminal's master. The kernel looks for input first and then whether the other side
 * is closed: what was written between the two looks comes with the next read. */
static ssize_t read_terminal(int fd, char *data, size_t size)
{
    ssize_t n = ah_io_read(fd, data, size);
    return n == -EIO ? ah_io_read(fd, data, size) : n;
}

/* Copies what the terminal has into the output file. False when it has been closed. */
static bool take_output(struct task *task, int rounds)
{
    char data[16384];
    for (int i = 0; i < rounds; i++) {
        ssize_t n = read_terminal(task->stream, data, sizeof data);
        if (n == -EAGAIN) {
            return true;
        }
        if (n <= 0) {
            return false;
        }
        (void)ah_io_write_all(task->stream_output, data, (size_t)n);
    }
    return true;
}

void stream_ready(struct tasks *tasks, struct task *task, uint32_t events)
{
    if (task->stream < 0) {
        return;
    }
    if (is_terminal(task) && (events & ~(uint32_t)EPOLLOUT) != 0 && !take_output(task, 4)) {
        report(tasks, task, task->waiting.len, EPIPE);
        close_stream(tasks, task);
        return;
    }
    if (!is_terminal(task) && (events & EPOLLERR) != 0) {
        report(tasks, task, task->waiting.len, EPIPE); /* nobody reads it any more */
        close_stream(tasks, task);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        flush(tasks, task);
    }
}

void stream_close(struct tasks *tasks, struct task *task)
{
    if (task->stream >= 0 && is_terminal(task)) {
        /* A terminal holds little; the bound is for one that a leftover process keeps filling. */
        take_output(task, 64);
    }
    close_stream(tasks, task);
}
