#include "spawn.h"

#include "core/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct spawn_slot *spawn_slots_new(size_t count)
{
    void *slots = mmap(NULL, count * sizeof(struct spawn_slot), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return slots != MAP_FAILED ? slots : NULL;
}

static size_t name_length(const char *variable)
{
    return strcspn(variable, "=");
}

static bool is_overridden(const char *variable, const struct ah_link_spawn *order)
{
    size_t len = name_length(variable);
    for (uint32_t i = 0; i < order->envc; i++) {
        if (name_length(order->env[i]) == len && strncmp(order->env[i], variable, len) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_marker(const char *variable)
{
    return strncmp(variable, AH_LINK_MARKER "=", sizeof AH_LINK_MARKER) == 0;
}

/* The supervisor's environment with the order's changes and the marker. The array is the caller's,
 * the texts are borrowed. */
static char **make_environment(const struct ah_link_spawn *order, char *marker)
{
    size_t count = 0;
    while (environ[count] != NULL) {
        count++;
    }
    char **env = calloc(count + order->envc + 2, sizeof *env);
    if (env == NULL) {
        return NULL;
    }
    size_t n = 0;
    env[n++] = marker; /* first, so that it is found however much follows */
    for (size_t i = 0; i < count; i++) {
        if (!is_overridden(environ[i], order) && !is_marker(environ[i])) {
            env[n++] = environ[i];
        }
    }
    for (uint32_t i = 0; i < order->envc; i++) {
        if (strchr(order->env[i], '=') != NULL && !is_marker(order->env[i])) {
            env[n++] = order->env[i];
        }
    }
    return env;
}

__attribute__((noreturn)) static void give_up(struct spawn_slot *slot, enum ah_link_stage stage)
{
    slot->error = errno;
    slot->stage = (int)stage;
    _exit(127);
}

static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    for (int signal = 1; signal < NSIG; signal++) {
        sigaction(signal, &action, NULL); /* fails for KILL, STOP and libc's own: as it should */
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((noreturn)) static void run_child(const struct ah_link_spawn *order, char **env,
                                                const struct rlimit *files, struct spawn_slot *slot,
                                                pid_t supervisor)
{
    setsid();
    reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor) {
        _exit(127); /* it died before the line above took effect */
    }
    setrlimit(RLIMIT_NOFILE, files);
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (input < 0 || dup2(input, STDIN_FILENO) < 0) {
        give_up(slot, AH_LINK_STAGE_OUTPUT);
    }
    int output = open(order->output,
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    if (output < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) {
        give_up(slot, AH_LINK_STAGE_OUTPUT);
    }
    if (chdir(order->cwd) != 0) {
        give_up(slot, AH_LINK_STAGE_CWD);
    }
    environ = env; /* execvp looks along the PATH that is in there */
    execvp(order->argv[0], order->argv);
    give_up(slot, AH_LINK_STAGE_EXEC);
}

int spawn_start(const struct ah_link_spawn *order, const char *run, const struct rlimit *files,
                struct spawn_slot *slot, pid_t *ret_pid, int *ret_pidfd)
{
    char marker[192];
    snprintf(marker, sizeof marker, AH_LINK_MARKER "=%s:%s", run, order->id);
    char **env = make_environment(order, marker);
    if (env == NULL) {
        return -ENOMEM;
    }
    *slot = (struct spawn_slot){.stage = AH_LINK_STAGE_NONE};
    pid_t supervisor = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        run_child(order, env, files, slot, supervisor);
    }
    int rc = pid < 0 ? -errno : 0;
    free(env);
    if (rc < 0) {
        return rc;
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        /* Without it nobody would hear of the end: better no child. */
        rc = -errno;
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        return rc;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}
