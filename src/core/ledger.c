#include "ledger.h"

#include "buf.h"
#include "clock.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES (1024 * 1024)

/* A record that was cut short (disk full, machine died) must not swallow the next one. */
static int end_torn_line(int fd)
{
    struct stat st;
    char last = '\n';
    bool torn = fstat(fd, &st) == 0 && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 &&
                last != '\n';
    return torn ? ah_io_write_all(fd, "\n", 1) : 0;
}

int ah_ledger_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rc = end_torn_line(fd);
    if (rc < 0) {
        ah_io_close(&fd);
        return rc;
    }
    return fd;
}

/* ---- JSON ---- */

/* The length of the UTF-8 character at `at`, or 0 when there is no valid one. */
static size_t utf8_length(const unsigned char *at)
{
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0; /* the NUL at the end of the text stops here, too */
        }
    }
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool beyond = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return overlong || beyond ? 0 : len;
}

/* A JSON string; what is not UTF-8 becomes U+FFFD. */
static int add_string(struct ah_buf *line, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    int rc = ah_buf_add(line, "\"", 1);
    while (rc == 0 && *at != '\0') {
        size_t len = utf8_length(at);
        if (len == 0) {
            rc = ah_buf_add_str(line, "\\ufffd");
            len = 1;
        } else if (*at == '"' || *at == '\\') {
            rc = ah_buf_addf(line, "\\%c", *at);
        } else if (*at < 0x20 || *at == 0x7f) {
            rc = ah_buf_addf(line, "\\u%04x", *at);
        } else {
            rc = ah_buf_add(line, at, len);
        }
        at += len;
    }
    return rc == 0 ? ah_buf_add(line, "\"", 1) : rc;
}

static int add_member(struct ah_buf *line, const char *name, const char *text)
{
    if (text == NULL || *text == '\0') {
        return 0;
    }
    int rc = ah_buf_addf(line, ",\"%s\":", name);
    return rc == 0 ? add_string(line, text) : rc;
}

static int begin(struct ah_buf *line, const char *type, const char *task)
{
    ah_buf_init(line, LINE_MAX_BYTES);
    int rc = ah_buf_addf(line, "{\"type\":\"%s\",\"task\":", type);
    rc = rc == 0 ? add_string(line, task) : rc;
    return rc == 0 ? ah_buf_addf(line, ",\"time\":%.3f", ah_clock_wall()) : rc;
}

/* One write, so that the line is whole or the last one. */
static int finish(struct ah_buf *line, int fd, int rc)
{
    rc = rc == 0 ? ah_buf_add_str(line, "}\n") : rc;
    rc = rc == 0 ? end_torn_line(fd) : rc;
    if (rc == 0) {
        ssize_t n;
        do {
            n = write(fd, line->data, line->len);
        } while (n < 0 && errno == EINTR);
        rc = n < 0 ? -errno : (size_t)n == line->len ? 0 : -EIO;
    }
    ah_buf_clear(line);
    return rc;
}

/* ---- records ---- */

/* What both kinds of order have in common. */
static int add_order(struct ah_buf *line, const struct ah_ledger_start *order)
{
    int rc = ah_buf_addf(line, ",\"owed\":%s,\"detached\":%s", order->owed ? "true" : "false",
                         order->detached ? "true" : "false");
    rc = rc == 0 ? add_member(line, "command", order->command) : rc;
    rc = rc == 0 ? add_member(line, "label", order->label) : rc;
    rc = rc == 0 ? add_member(line, "cwd", order->cwd) : rc;
    return rc == 0 ? add_member(line, "output", order->output) : rc;
}

int ah_ledger_add_queued(int fd, const struct ah_ledger_start *queued)
{
    struct ah_buf line;
    int rc = begin(&line, "queued", queued->task);
    return finish(&line, fd, rc == 0 ? add_order(&line, queued) : rc);
}

int ah_ledger_add_start(int fd, const struct ah_ledger_start *start)
{
    struct ah_buf line;
    int rc = begin(&line, "start", start->task);
    rc = rc == 0 ? ah_buf_addf(&line, ",\"pid\":%d,\"born\":%llu", (int)start->pid,
                               (unsigned long long)start->born)
                 : rc;
    return finish(&line, fd, rc == 0 ? add_order(&line, start) : rc);
}

int ah_ledger_add_end(int fd, const struct ah_ledger_end *end)
{
    struct ah_buf line;
    int rc = begin(&line, "end", end->task);
    rc = rc == 0 ? add_member(&line, "status", end->status) : rc;
    rc = rc == 0 && end->code >= 0 ? ah_buf_addf(&line, ",\"code\":%d", end->code) : rc;
    rc = rc == 0 && end->signal > 0 ? ah_buf_addf(&line, ",\"signal\":%d", end->signal) : rc;
    rc = rc == 0 ? add_member(&line, "reason", end->reason) : rc;
    rc = rc == 0 ? ah_buf_addf(&line, ",\"seconds\":%.3f", end->seconds) : rc;
    return finish(&line, fd, rc);
}

int ah_ledger_add_mark(int fd, const char *type, const char *task)
{
    struct ah_buf line;
    return finish(&line, fd, begin(&line, type, task));
}
