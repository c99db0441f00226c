#include "request.h"

#include "core/io.h"
#include "ending.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".kill"
#define OUTPUT_SUFFIX ".log"
#define GRACE_MAX 3600000 /* ms */

bool request_watch(struct tasks *tasks, const struct task *task)
{
    const char *slash = strrchr(task->output, '/');
    size_t len = slash != NULL ? (size_t)(slash - task->output) : 0;
    if (len == 0 || len >= PATH_MAX) {
        return false;
    }
    if (tasks->watched_dir != NULL && strncmp(tasks->watched_dir, task->output, len) == 0 &&
        tasks->watched_dir[len] == '\0') {
        return true; /* as for the last task: nearly always */
    }
    free(tasks->watched_dir);
    tasks->watched_dir = strndup(task->output, len);
    tasks->dir_watch = -1;
    if (tasks->watched_dir != NULL) {
        tasks->dir_watch =
            inotify_add_watch(tasks->inotify_fd, tasks->watched_dir, IN_MOVED_TO | IN_ONLYDIR);
    }
    if (tasks->dir_watch < 0) {
        free(tasks->watched_dir);
        tasks->watched_dir = NULL;
    }
    return tasks->dir_watch >= 0;
}

void request_watch_ended(struct tasks *tasks, int watch)
{
    if (tasks->watched_dir != NULL && tasks->dir_watch == watch) {
        free(tasks->watched_dir);
        tasks->watched_dir = NULL;
    }
}

void request_arrived(struct tasks *tasks, const char *name)
{
    const char *suffix = strstr(name, SUFFIX);
    if (suffix == NULL || suffix[strlen(SUFFIX)] != '\0') {
        return;
    }
    size_t len = (size_t)(suffix - name);
    for (struct task *task = tasks->first; task != NULL; task = task->next) {
        if (strncmp(task->id, name, len) == 0 && task->id[len] == '\0') {
            request_take(tasks, task);
        }
    }
}

/* The text of a request of ours; 0 or more bytes, or -1 when it is none. */
static ssize_t read_request(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -1;
    }
    struct stat st;
    bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
    ssize_t len = ours ? ah_io_read(fd, text, size - 1) : -1;
    ah_io_close(&fd);
    if (len >= 0) {
        text[len] = '\0';
    }
    return len;
}

/* "5000\nwho\n"; false when it is something else. */
static bool parse_request(char *text, long *ret_grace, const char **ret_by)
{
    char *end = text;
    long grace = strtol(text, &end, 10);
    char *line_end = *end == '\n' ? strchr(end + 1, '\n') : NULL;
    if (end == text || grace < 0 || grace > GRACE_MAX || line_end == NULL || line_end == end + 1) {
        return false;
    }
    *line_end = '\0';
    for (const char *at = end + 1; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) {
            return false;
        }
    }
    *ret_grace = grace;
    *ret_by = end + 1;
    return true;
}

void request_take(struct tasks *tasks, struct task *task)
{
    char path[PATH_MAX];
    char text[128];
    size_t len = strlen(task->output);
    size_t suffix = strlen(OUTPUT_SUFFIX);
    if (task->state == TASK_DEAD || len < suffix || len + sizeof SUFFIX > sizeof path ||
        strcmp(task->output + len - suffix, OUTPUT_SUFFIX) != 0) {
        return;
    }
    snprintf(path, sizeof path, "%.*s" SUFFIX, (int)(len - suffix), task->output);
    long grace;
    const char *by;
    if (read_request(path, text, sizeof text) < 0 || unlink(path) != 0 ||
        !parse_request(text, &grace, &by)) {
        return;
    }
    char reason[128];
    snprintf(reason, sizeof reason, "by %s", by);
    ending_begin(tasks, task, AH_TASK_KILLED, reason, grace * 1000000LL, SIGTERM);
}
