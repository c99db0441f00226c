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

void ah_foreground_stop(void)
{
    struct sigaction before;
    const struct sigaction stop = {.sa_handler = SIG_DFL};
    if (sigaction(SIGTSTP, &stop, &before) == 0) {
        raise(SIGTSTP); /* not SIGSTOP: the kernel knows whether anybody could continue us */
        sigaction(SIGTSTP, &before, NULL);
    }
}

/* Waits for its end. When it is stopped (Ctrl-Z) so is this process, or the shell would not know.
 */
static int wait_for(pid_t pid, int *ret_status)
{
    for (;;) {
        if (waitpid(pid, ret_status, WUNTRACED) < 0) {
            if (errno != EINTR) {
                return -errno;
            }
        } else if (WIFSTOPPED(*ret_status)) {
            ah_foreground_stop();
            (void)kill(pid, SIGCONT); /* where there is no shell to continue all of us */
        } else {
            return 0;
        }
    }
}

int ah_foreground_run(char *const argv[], int *ret_code, struct ah_err *err)
{
    pid_t pid = 0;
    int rc = spawn(argv, &pid);
    if (rc < 0) {
        return ah_err_sys(err, rc, "cannot run %s", argv[0]);
    }
    int status;
    rc = wait_for(pid, &status);
    if (rc < 0) {
        return ah_err_sys(err, rc, "cannot wait for %s", argv[0]);
    }
    *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}
