#include "superproc.h"

#include "clock.h"
#include "io.h"
#include "superlink.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_MS 100 /* for a supervisor that has said goodbye to be gone */

extern char **environ;

int ah_superproc_start(const char *path, pid_t *ret_pid, int *ret_fd, struct ah_err *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return ah_err_sys(err, -errno, "cannot make a socket for the supervisor");
    }
    const int room = 2 * AH_LINK_MAX; /* the default may be set to less than one packet */
    (void)setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_adddup2(&actions, ends[1], AH_LINK_FD);
    char *argv[] = {(char *)"agenthost-supervisor", NULL};
    pid_t pid;
    int rc = -posix_spawn(&pid, path, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    ah_io_close(&ends[1]);
    if (rc < 0) {
        ah_io_close(&ends[0]);
        return ah_err_sys(err, rc, "cannot start the supervisor %s", path);
    }
    *ret_pid = pid;
    *ret_fd = ends[0];
    return 0;
}

/* Waits until the other end is closed. False when that took too long. */
static bool wait_for_close(int fd, int64_t deadline)
{
    char packet[256]; /* what still comes is of no interest: the ledger has it */
    for (;;) {
        struct pollfd link = {.fd = fd, .events = POLLIN};
        int n = poll(&link, 1, ah_clock_poll_timeout(deadline));
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        ssize_t got = n > 0 ? recv(fd, packet, sizeof packet, MSG_DONTWAIT) : 1;
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) {
            return true;
        }
    }
}

bool ah_superproc_stop(pid_t pid, int *fd, int64_t patience_ns)
{
    shutdown(*fd, SHUT_WR);
    bool closed = wait_for_close(*fd, ah_clock_now() + patience_ns);
    ah_io_close(fd);
    if (!closed) {
        kill(pid, SIGKILL); /* its tasks die with it */
    }
    int status = -1;
    for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited++) {
        if (closed && waited == EXIT_MS) {
            return true; /* it stays with detached tasks */
        }
        poll(NULL, 0, 1);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
