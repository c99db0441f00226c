#include "foreground.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

static int spawn(char *const argv[], pid_t *ret_pid)
{
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawnattr_init(&attributes);
    if (rc != 0) {
        return -rc;
    }
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    rc = posix_spawnp(ret_pid, argv[0], NULL, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    return -rc;
}

int ah_foreground_run(char *const argv[], int *ret_code, struct ah_err *err)
{
    pid_t pid = 0;
    int rc = spawn(argv, &pid);
    if (rc < 0) {
        return ah_err_sys(err, rc, "cannot run %s", argv[0]);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return ah_err_sys(err, -errno, "cannot wait for %s", argv[0]);
        }
    }
    *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}
