#include "proc.h"

#include "core/io.h"
#include "core/superlink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ENVIRON_MAX (256 * 1024)

struct process {
    pid_t pid;
    pid_t parent;
    pid_t group;
    char state;
    uint64_t born;
    bool marker_read;
    char *marker; /* its AH_LINK_MARKER variable; NULL: it has none */
};

static ssize_t read_file(int proc_fd, pid_t pid, const char *name, char *data, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "%d/%s", (int)pid, name);
    int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t len = 0;
    ssize_t n = 0;
    while (len < size - 1 && (n = ah_io_read(fd, data + len, size - 1 - len)) > 0) {
        len += (size_t)n;
    }
    ah_io_close(&fd);
    data[len] = '\0';
    return n < 0 ? n : (ssize_t)len;
}

bool proc_is_shortage(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM;
}

#define FIELD_STATE 3 /* proc(5): the first behind the name */
#define FIELD_BIRTH 22

/* "pid (name) S ppid pgrp ...": the name may hold anything, so look behind the last ')'. 0 or a
 * negative errno. */
static int read_process(int proc_fd, pid_t pid, struct process *ret_process)
{
    char text[1024];
    ssize_t len = read_file(proc_fd, pid, "stat", text, sizeof text);
    const char *behind = len > 0 ? strrchr(text, ')') : NULL;
    struct process process = {.pid = pid};
    if (behind == NULL ||
        sscanf(behind + 1, " %c %d %d", &process.state, &process.parent, &process.group) != 3) {
        return len < 0 ? (int)len : -ESRCH;
    }
    const char *birth = behind;
    for (int field = FIELD_STATE; birth != NULL && field <= FIELD_BIRTH; field++) {
        birth = strchr(birth + 1, ' ');
    }
    process.born = birth != NULL ? strtoull(birth + 1, NULL, 10) : 0;
    *ret_process = process;
    return 0;
}

/* Its AH_LINK_MARKER variable, or NULL. Read when it is asked for, as that is the dear part. */
static const char *marker_of(struct proc_scan *scan, struct process *process)
{
    if (process->marker_read) {
        return process->marker;
    }
    process->marker_read = true;
    ssize_t len = read_file(scan->proc_fd, process->pid, "environ", scan->environment, ENVIRON_MAX);
    scan->error = proc_is_shortage((int)len) ? (int)len : scan->error;
    const char *end = scan->environment + (len > 0 ? len : 0);
    for (const char *at = scan->environment; at < end; at += strlen(at) + 1) {
        if (strncmp(at, AH_LINK_MARKER "=", sizeof AH_LINK_MARKER) == 0) {
            process->marker = strdup(at); /* the first one, which is the supervisor's */
            scan->error = process->marker == NULL ? -ENOMEM : scan->error;
            break;
        }
    }
    return process->marker;
}

static bool has_marker(struct proc_scan *scan, struct process *process,
                       const struct proc_match *match)
{
    const char *marker = marker_of(scan, process);
    if (marker == NULL) {
        return false;
    }
    return match->marker_prefix ? strncmp(marker, match->marker, strlen(match->marker)) == 0
                                : strcmp(marker, match->marker) == 0;
}

static bool is_spared(struct proc_scan *scan, struct process *process,
                      const struct proc_match *match)
{
    const char *marker = match->spare_marked != NULL ? marker_of(scan, process) : NULL;
    return marker != NULL && match->spare_marked(match->spare_data, marker);
}

static int by_pid(const void *a, const void *b)
{
    const struct process *left = a;
    const struct process *right = b;
    return left->pid < right->pid ? -1 : left->pid > right->pid;
}

/* All processes of the machine. */
static int list_processes(int proc_fd, struct process **ret_list, size_t *ret_count)
{
    int fd = openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int rc = -errno;
        ah_io_close(&fd);
        return rc;
    }
    struct process *list = NULL;
    size_t count = 0;
    size_t cap = 0;
    int rc = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);
        if (pid <= 0 || *end != '\0') {
            continue;
        }
        if (count == cap) {
            cap = cap == 0 ? 256 : cap * 2;
            struct process *grown = realloc(list, cap * sizeof *list);
            if (grown == NULL) {
                rc = -ENOMEM;
                break;
            }
            list = grown;
        }
        int read = read_process(proc_fd, (pid_t)pid, &list[count]);
        count += read == 0 ? 1 : 0; /* else it has just gone */
        if (proc_is_shortage(read)) {
            rc = read;
            break;
        }
    }
    closedir(dir);
    if (rc < 0) {
        free(list);
        return rc;
    }
    if (count > 0) {
        qsort(list, count, sizeof *list, by_pid);
    }
    *ret_list = list;
    *ret_count = count;
    return 0;
}

static int take_scan(struct proc_scan *scan)
{
    int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *environment = malloc(ENVIRON_MAX);
    int rc = fd < 0 ? -errno : environment == NULL ? -ENOMEM : 0;
    rc = rc == 0 ? list_processes(fd, &scan->list, &scan->count) : rc;
    if (rc < 0) {
        ah_io_close(&fd);
        free(environment);
        return rc;
    }
    scan->proc_fd = fd;
    scan->environment = environment;
    return 0;
}

void proc_scan_clear(struct proc_scan *scan)
{
    for (size_t i = 0; i < scan->count; i++) {
        free(scan->list[i].marker);
    }
    free(scan->list);
    if (scan->environment != NULL) { /* else nothing was taken, and the descriptor is none */
        ah_io_close(&scan->proc_fd);
    }
    free(scan->environment);
    *scan = (struct proc_scan){0};
}

static const struct process *find_process(const struct proc_scan *scan, pid_t pid)
{
    const struct process wanted = {.pid = pid};
    return scan->count > 0 ? bsearch(&wanted, scan->list, scan->count, sizeof wanted, by_pid)
                           : NULL;
}

static bool is_descendant(const struct proc_scan *scan, const struct process *p,
                          const struct proc_match *match)
{
    pid_t ancestor = getpid();
    /* Parents are looked up in a list made at one moment; a bound guards against a loop in it. */
    for (int depth = 0; depth < 256 && p != NULL && p->pid > 1; depth++) {
        /* By its number, too: a command that was started just now is not yet in its own group. */
        if (match->spare != NULL && (match->spare(match->spare_data, p->group) ||
                                     match->spare(match->spare_data, p->pid))) {
            return false;
        }
        if (p->parent == ancestor) {
            return true;
        }
        p = find_process(scan, p->parent);
    }
    return false;
}

static bool is_meant(struct proc_scan *scan, struct process *p, const struct proc_match *match)
{
    return (match->group != 0 && p->group == match->group) ||
           (match->descendants && is_descendant(scan, p, match) && !is_spared(scan, p, match)) ||
           (match->marker != NULL && has_marker(scan, p, match));
}

/* The list may be as old as a long tick, and a number may have gone to another process since. A
 * process that is stopped has to run to take a signal, as shells and init systems know. */
static void send_signal(const struct proc_scan *scan, const struct process *p, int signal)
{
    struct process now;
    if (read_process(scan->proc_fd, p->pid, &now) != 0 || now.born != p->born) {
        return;
    }
    kill(p->pid, signal);
    if (signal != SIGKILL) {
        kill(p->pid, SIGCONT);
    }
}

int proc_signal_in(struct proc_scan *scan, const struct proc_match *match, int signal)
{
    int rc = scan->environment == NULL ? take_scan(scan) : 0;
    if (rc < 0) {
        return rc;
    }
    pid_t self = getpid();
    int matched = 0;
    for (size_t i = 0; i < scan->count; i++) {
        struct process *p = &scan->list[i];
        if (p->pid == self || p->state == 'Z' || p->state == 'X' ||
            (match->only_children && p->parent != self) || !is_meant(scan, p, match)) {
            continue;
        }
        matched++;
        if (signal != 0 && (match->spared == 0 || p->group != match->spared)) {
            send_signal(scan, p, signal);
        }
    }
    return scan->error < 0 ? scan->error : matched;
}

int proc_signal(const struct proc_match *match, int signal)
{
    struct proc_scan scan = {0};
    int matched = proc_signal_in(&scan, match, signal);
    proc_scan_clear(&scan);
    return matched;
}

int proc_count_children(void)
{
    int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int count = 0;
    char text[4096];
    ssize_t n;
    while ((n = ah_io_read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            count += text[i] == ' ' ? 1 : 0; /* one behind each number */
        }
    }
    ah_io_close(&fd);
    return n < 0 ? (int)n : count;
}

uint64_t proc_birth(pid_t pid)
{
    int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct process process;
    int rc = read_process(proc_fd, pid, &process);
    ah_io_close(&proc_fd);
    return rc == 0 ? process.born : 0;
}

uint64_t proc_tick(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK);
    return (uint64_t)now.tv_sec * ticks + (uint64_t)now.tv_nsec * ticks / 1000000000;
}
