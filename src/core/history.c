#include "history.h"

#include "buf.h"
#include "file.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES_MAX ((size_t)64 * 1024)
#define FILE_BYTES_MAX ((off_t)4 * 1024 * 1024) /* so much of its end is read */

struct ah_history {
    char **lines; /* a ring of `max`; owned */
    size_t max;
    size_t added;  /* ever: the last one is at (added - 1) % max */
    char *path;    /* or NULL */
    size_t back;   /* how many lines before the typed one the walk is; 0: no walk */
    char *typed;   /* where the walk started */
    char *pattern; /* NULL: no search */
};

static size_t count_lines(const struct ah_history *history)
{
    return history->added < history->max ? history->added : history->max;
}

/* The line that was added `back` (1..count) before the next one. */
static const char *line_at(const struct ah_history *history, size_t back)
{
    return history->lines[(history->added - back) % history->max];
}

/* Control characters become spaces, so that it is one line of the file. 1: it is remembered, 0: it
 * is not worth it, -ENOMEM. */
static int remember(struct ah_history *history, const char *text, size_t len)
{
    if (len > LINE_BYTES_MAX || history->max == 0) {
        return 0;
    }
    char *line = strndup(text, len);
    if (line == NULL) {
        return -ENOMEM;
    }
    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = ' ';
        }
    }
    bool blank = line[strspn(line, " ")] == '\0';
    if (blank || (history->added > 0 && strcmp(line_at(history, 1), line) == 0)) {
        free(line);
        return 0;
    }
    char **slot = &history->lines[history->added % history->max];
    free(*slot);
    *slot = line;
    history->added++;
    if (history->back > 0 && history->back < count_lines(history)) {
        history->back++; /* the walk stays where it is */
    }
    return 1;
}

/* ---- the file ---- */

/* A descriptor to read and append, or negative errno. *ret_size is 0 for what is no regular file
 * (/dev/null): that is not read. Opened each time, because another process may have replaced it. */
static int open_file(const struct ah_history *history, off_t *ret_size)
{
    int fd = open(history->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        return -errno;
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        int rc = -errno;
        ah_io_close(&fd);
        return rc;
    }
    if (S_ISREG(st.st_mode) && (st.st_mode & 077) != 0) {
        (void)fchmod(fd, 0600); /* what was typed is nobody else's business */
    }
    *ret_size = S_ISREG(st.st_mode) ? st.st_size : 0;
    return fd;
}

/* In place of the file, in one step. What another process appends at this very moment is lost. */
static int rewrite(const struct ah_history *history)
{
    struct ah_buf all;
    ah_buf_init(&all, 0);
    int rc = 0;
    for (size_t back = count_lines(history); back > 0 && rc == 0; back--) {
        rc = ah_buf_addf(&all, "%s\n", line_at(history, back));
    }
    if (rc == 0) {
        rc = ah_file_write(history->path, ah_buf_str(&all), all.len, 0600, NULL);
    }
    ah_buf_clear(&all);
    return rc;
}

/* Remembers the lines of a text and counts them. 0 or -ENOMEM. */
static int remember_all(struct ah_history *history, const char *text, size_t len, size_t *ret_count)
{
    size_t count = 0;
    for (size_t at = 0; at < len; count++) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t line_len = newline != NULL ? (size_t)(newline - text) - at : len - at;
        int rc = remember(history, text + at, line_len);
        if (rc < 0) {
            return rc;
        }
        at += line_len + 1;
    }
    *ret_count = count;
    return 0;
}

static int load(struct ah_history *history, struct ah_err *err)
{
    off_t size;
    struct ah_buf all;
    ah_buf_init(&all, 0);
    int fd = open_file(history, &size);
    if (fd < 0) {
        return ah_err_sys(err, fd, "cannot open the history file '%s'", history->path);
    }
    /* As the file stands: the program may change its directory. */
    char *real = realpath(history->path, NULL);
    if (real != NULL) {
        free(history->path);
        history->path = real;
    }
    bool cut = size > FILE_BYTES_MAX;
    uint64_t ignored;
    size_t count;
    int rc = 0;
    if (cut && lseek(fd, size - FILE_BYTES_MAX, SEEK_SET) < 0) {
        rc = ah_err_sys(err, -errno, "cannot read the history file '%s'", history->path);
    } else if (size > 0) {
        rc = ah_file_read_fd(fd, history->path, (size_t)FILE_BYTES_MAX, &all, &ignored, err);
    }
    if (rc < 0 || all.len == 0) {
        goto out;
    }
    if (all.data[all.len - 1] != '\n') { /* torn by a crash: the next line must not join it */
        (void)ah_io_write_all(fd, "\n", 1);
    }
    if (cut) { /* the first line is not whole */
        const char *newline = memchr(all.data, '\n', all.len);
        ah_buf_consume(&all, newline != NULL ? (size_t)(newline + 1 - all.data) : all.len);
    }
    rc = remember_all(history, all.data, all.len, &count);
    if (rc < 0) {
        ah_err_sys(err, rc, "cannot read the history file '%s'", history->path);
    } else if (history->max > 0 && (cut || count > 2 * history->max)) {
        (void)rewrite(history); /* it can wait: what is remembered is right */
    }
out:
    ah_io_close(&fd);
    ah_buf_clear(&all);
    return rc;
}

/* One write of the whole line, so that processes can share the file. */
static int append(const struct ah_history *history)
{
    off_t ignored;
    struct ah_buf line;
    ah_buf_init(&line, 0);
    int fd = open_file(history, &ignored);
    int rc = fd < 0 ? fd : ah_buf_addf(&line, "%s\n", line_at(history, 1));
    if (rc == 0) {
        rc = ah_io_write_all(fd, line.data, line.len);
    }
    ah_buf_clear(&line);
    ah_io_close(&fd);
    return rc;
}

/* ---- the walk ---- */

/* Shows the line `back` before the typed one. */
static const char *go(struct ah_history *history, size_t back, const char *typed)
{
    if (history->back == 0) {
        char *copy = strdup(typed);
        if (copy == NULL) {
            return NULL;
        }
        free(history->typed);
        history->typed = copy;
    }
    history->back = back;
    return back == 0 ? history->typed : line_at(history, back);
}

const char *ah_history_step(struct ah_history *history, bool older, const char *typed)
{
    size_t back = history->back;
    if (older ? back >= count_lines(history) : back == 0) {
        return NULL;
    }
    return go(history, older ? back + 1 : back - 1, typed);
}

const char *ah_history_search(struct ah_history *history, bool older, const char *typed)
{
    if (history->pattern == NULL && (history->pattern = strdup(typed)) == NULL) {
        return NULL;
    }
    size_t back = history->back;
    while (older ? back < count_lines(history) : back > 1) {
        back = older ? back + 1 : back - 1;
        if (strstr(line_at(history, back), history->pattern) != NULL) {
            return go(history, back, typed);
        }
    }
    return NULL;
}

void ah_history_end_search(struct ah_history *history)
{
    free(history->pattern);
    history->pattern = NULL;
}

void ah_history_leave(struct ah_history *history)
{
    ah_history_end_search(history);
    free(history->typed);
    history->typed = NULL;
    history->back = 0;
}

/* ---- the whole ---- */

int ah_history_add(struct ah_history *history, const char *text, size_t len, struct ah_err *err)
{
    int rc = remember(history, text, len);
    if (rc < 0) {
        return ah_err_sys(err, rc, "cannot remember the line");
    }
    if (rc == 0 || history->path == NULL) {
        return 0;
    }
    rc = append(history);
    return rc < 0 ? ah_err_sys(err, rc, "cannot write the history file '%s'", history->path) : 0;
}

int ah_history_new(size_t max, const char *path, struct ah_history **ret_history,
                   struct ah_err *err)
{
    int rc = 0;
    struct ah_history *history = calloc(1, sizeof *history);
    if (history != NULL) {
        history->max = max;
        history->lines = calloc(max + 1, sizeof *history->lines);
        history->path = path != NULL ? strdup(path) : NULL;
    }
    if (history == NULL || history->lines == NULL || (path != NULL && history->path == NULL)) {
        rc = ah_err_set(err, -ENOMEM, "out of memory");
    } else if (path != NULL) {
        rc = load(history, err);
    }
    if (rc < 0) {
        ah_history_free(history);
        return rc;
    }
    *ret_history = history;
    return 0;
}

void ah_history_free(struct ah_history *history)
{
    if (history == NULL) {
        return;
    }
    for (size_t i = 0; history->lines != NULL && i < history->max; i++) {
        free(history->lines[i]);
    }
    ah_history_leave(history);
    free(history->lines);
    free(history->path);
    free(history);
}
