#include "spawn.h"

#include "core/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define RESERVE 8 /* descriptors that no task takes: to look into /proc, for ledger and output */

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

__attribute__((noreturn)) static void give_up(struct spawn_slot *slot, enum spawn_stage stage)
{
    slot->error = errno;
    slot->stage = (int)stage;
    _exit(127);
}

/* The supervisor ignores no signal, so that exec gives a command the defaults; what is left is the
 * mask. */
static void unblock_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What the child needs beyond its order. */
struct setting {
    char **env;
    const struct rlimit *files;
    struct spawn_slot *slot;
    pid_t supervisor;
    int input;         /* the read end of a pipe, or -1 */
    char terminal[64]; /* path of the terminal, or "" */
};

static void set_limit(struct spawn_slot *slot, __rlimit_resource_t resource, uint64_t value)
{
    /* One second of processor time more, so that the first thing to come is SIGXCPU. */
    uint64_t hard = resource == RLIMIT_CPU ? value + 1 : value;
    struct rlimit limit = {.rlim_cur = value, .rlim_max = hard};
    if (value > 0 && setrlimit(resource, &limit) != 0) {
        give_up(slot, SPAWN_LIMIT);
    }
}

static void set_limits(const struct ah_link_spawn *order, const struct setting *setting)
{
    if (setrlimit(RLIMIT_NOFILE, setting->files) != 0) {
        give_up(setting->slot, SPAWN_LIMIT);
    }
    set_limit(setting->slot, RLIMIT_NOFILE, order->max_files);
    set_limit(setting->slot, RLIMIT_AS, order->max_memory);
    set_limit(setting->slot, RLIMIT_CPU, order->max_cpu);
    if (order->nice != 0) {
        errno = 0;
        if (nice(order->nice) == -1 && errno != 0) {
            give_up(setting->slot, SPAWN_LIMIT);
        }
    }
}

static void redirect(int from, int to, struct spawn_slot *slot)
{
    if (from < 0 || dup2(from, to) < 0) {
        give_up(slot, SPAWN_OUTPUT);
    }
}

static void set_descriptors(const struct ah_link_spawn *order, const struct setting *setting)
{
    int output = open(order->output,
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    if (output < 0) { /* of a terminal's it is the supervisor that writes there */
        give_up(setting->slot, SPAWN_OUTPUT);
    }
    if (setting->terminal[0] != '\0') {
        /* The leader of a session without a terminal: this one becomes its terminal. */
        int terminal = open(setting->terminal, O_RDWR | O_CLOEXEC);
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
            redirect(terminal, fd, setting->slot);
        }
        return;
    }
    int input = setting->input >= 0 ? setting->input : open("/dev/null", O_RDONLY | O_CLOEXEC);
    redirect(input, STDIN_FILENO, setting->slot);
    redirect(output, STDOUT_FILENO, setting->slot);
    redirect(output, STDERR_FILENO, setting->slot);
}

__attribute__((noreturn)) static void run_child(const struct ah_link_spawn *order,
                                                const struct setting *setting)
{
    setsid();
    unblock_signals();
    if ((order->flags & AH_LINK_DETACHED) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != setting->supervisor) {
            _exit(127); /* it died before the line above took effect */
        }
    }
    set_descriptors(order, setting);
    if (chdir(order->cwd) != 0) {
        give_up(setting->slot, SPAWN_CWD);
    }
    set_limits(order, setting);
    environ = setting->env; /* execvp looks along the PATH that is in there */
    execvp(order->argv[0], order->argv);
    give_up(setting->slot, SPAWN_EXEC);
}

/* ---- stdin ---- */

/* A terminal: gives its master and notes its path. */
static int open_terminal(struct setting *setting, int *ret_master)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 ||
        ptsname_r(master, setting->terminal, sizeof setting->terminal) != 0 ||
        ioctl(master, TIOCSWINSZ, &size) != 0) {
        int rc = -errno;
        ah_io_close(&master);
        return rc;
    }
    *ret_master = master;
    return 0;
}

static int open_pipe(struct setting *setting, int *ret_writer)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    fcntl(ends[1], F_SETFL, O_NONBLOCK); /* the child's end stays as commands expect it */
    setting->input = ends[0];
    *ret_writer = ends[1];
    return 0;
}

static int open_stream(const struct ah_link_spawn *order, struct setting *setting, int *ret_stream)
{
    *ret_stream = -1;
    if ((order->flags & AH_LINK_PTY) != 0) {
        return open_terminal(setting, ret_stream);
    }
    return (order->flags & AH_LINK_STDIN) != 0 ? open_pipe(setting, ret_stream) : 0;
}

/* Whether there are descriptors for one more task. Found out before the fork: a command whose pidfd
 * cannot be had would have to be killed in the middle of its work. */
static int check_room(const struct rlimit *files)
{
    int next = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    if (next < 0) {
        return -errno;
    }
    int rc = (rlim_t)next + RESERVE > files->rlim_max ? -EMFILE : 0;
    ah_io_close(&next);
    return rc;
}

int spawn_start(const struct ah_link_spawn *order, const char *run, const struct rlimit *files,
                struct spawn_slot *slot, struct spawn_child *ret_child)
{
    char marker[192];
    snprintf(marker, sizeof marker, AH_LINK_MARKER "=%s:%s", run, order->id);
    struct setting setting = {.files = files, .slot = slot, .supervisor = getpid(), .input = -1};
    struct spawn_child child = {.stream = -1, .pidfd = -1};
    *slot = (struct spawn_slot){.stage = SPAWN_NO_FAILURE};
    setting.env = make_environment(order, marker);
    int rc = setting.env != NULL ? check_room(files) : -ENOMEM;
    rc = rc == 0 ? open_stream(order, &setting, &child.stream) : rc;
    if (rc == 0) {
        child.pid = fork();
        if (child.pid == 0) {
            run_child(order, &setting);
        }
        rc = child.pid < 0 ? -errno : 0;
    }
    free(setting.env);
    ah_io_close(&setting.input);
    if (rc == 0) {
        child.pidfd = (int)syscall(SYS_pidfd_open, child.pid, 0);
        if (child.pidfd < 0) {
            /* Without it nobody would hear of the end: better no child. */
            rc = -errno;
            kill(child.pid, SIGKILL);
            while (waitpid(child.pid, NULL, 0) < 0 && errno == EINTR) {
            }
        }
    }
    if (rc < 0) {
        ah_io_close(&child.stream);
        return rc;
    }
    *ret_child = child;
    return 0;
}
