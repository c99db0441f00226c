/* The bare loop: posix_spawn, output to a file, a pidfd in an epoll set. See README.md. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static int epoll_fd;
static const char *dir;

struct child {
    int number;
    pid_t pid;
    int pidfd;
};

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static const char *output_path(int number)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/out/%d.log", dir, number);
    return path;
}

static int start(struct child *child, int number, char **argv)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, output_path(number), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    int rc = posix_spawnp(&child->pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    child->number = number;
    child->pidfd = rc == 0 ? (int)syscall(SYS_pidfd_open, child->pid, 0) : -1;
    if (child->pidfd < 0) {
        return -1; /* too many open files: it runs, but its end cannot be watched */
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = child};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, child->pidfd, &event);
}

/* Waits for ends, reaps them, returns how many. */
static int drain(void)
{
    struct epoll_event events[64];
    int n = epoll_wait(epoll_fd, events, 64, -1);
    for (int i = 0; i < n; i++) {
        struct child *child = events[i].data.ptr;
        waitpid(child->pid, NULL, 0);
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, child->pidfd, NULL);
        close(child->pidfd);
    }
    return n;
}

static int64_t read_stamp(int number)
{
    char text[32] = "";
    int fd = open(output_path(number), O_RDONLY);
    if (read(fd, text, sizeof text - 1) <= 0) {
        exit(1);
    }
    close(fd);
    return strtoll(text, NULL, 10);
}

static void ask(const char *word)
{
    puts(word);
    fflush(stdout);
    getchar();
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int count = argc > 2 ? atoi(argv[2]) : 1;
    int width = argc > 3 ? atoi(argv[3]) : count;
    char until[32];
    char *yes[] = {"true", NULL};
    char *shell_true[] = {"sh", "-c", "true", NULL};
    char *stamp[] = {getenv("STAMP"), until, NULL};
    char *sleeper[] = {"sleep", "20", NULL};
    char *leaver[] = {"sh", "-c", "sleep 30 & echo hi", NULL};
    char *writer[] = {"head", "-c", "1073741824", "/dev/zero", NULL};
    struct timespec pause = {.tv_nsec = 2000000};
    struct child *children = calloc((size_t)count, sizeof *children);
    dir = getenv("BENCH_DIR");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int64_t begin = now();
    if (strcmp(what, "start") == 0 || strcmp(what, "last") == 0) {
        for (int i = 0; i < count; i++) {
            nanosleep(&pause, NULL);
            begin = now();
            snprintf(until, sizeof until, "%" PRId64, begin + 5000000);
            start(&children[i], i, *what == 's' ? yes : stamp);
            int64_t started = now();
            drain();
            int64_t took = *what == 's' ? started - begin : now() - read_stamp(i);
            printf("%.1f\n", (double)took / 1e3);
        }
    } else if (strcmp(what, "many") == 0) {
        int failed = 0;
        for (int done = 0, i = 0; done < count; done += done < count ? drain() : 0) {
            for (; i < count && i - done < width; i++) {
                bool ok = start(&children[i], i, shell_true) == 0;
                failed += !ok;
                done += !ok;
            }
        }
        printf("%.6f %d\n", (double)(now() - begin) / 1e9, failed);
    } else if (strcmp(what, "together") == 0) {
        int64_t first = INT64_MAX;
        snprintf(until, sizeof until, "%" PRId64, begin + INT64_C(1500000000));
        for (int i = 0; i < count; i++) {
            start(&children[i], i, stamp);
        }
        for (int ended = 0; ended < count;) {
            ended += drain();
        }
        int64_t end = now();
        for (int i = 0; i < count; i++) {
            first = read_stamp(i) < first ? read_stamp(i) : first;
        }
        printf("%.1f\n", (double)(end - first) / 1e3);
    } else { /* leave, write, hold */
        ask("before");
        begin = now();
        for (int i = 0; i < count; i++) {
            start(&children[i], i, *what == 'l' ? leaver : *what == 'w' ? writer : sleeper);
        }
        if (*what != 'h') {
            drain();
            printf("%.6f\n", (double)(now() - begin) / 1e9);
        }
        ask("after");
    }
    return 0;
}
