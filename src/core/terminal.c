#include "terminal.h"

#include "io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define READ_STEP 4096
#define BRACKETS_ON "\033[?2004h"
#define BRACKETS_OFF "\033[?2004l"

static struct {
    volatile sig_atomic_t taken;    /* the modes may not be the remembered ones */
    volatile sig_atomic_t brackets; /* the terminal was asked to mark pastes */
    pid_t pid;                      /* a forked child leaves its parent's terminal alone */
    bool open;
    bool at_exit; /* the exit handler is registered */
    struct termios modes;
} terminal;

static const int fatal_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGABRT,
                                    SIGBUS, SIGFPE, SIGSEGV, SIGTERM};

void ah_terminal_restore(void)
{
    if (!terminal.taken || terminal.pid != getpid()) {
        return;
    }
    /* In the background setting modes would stop the process (SIGTTOU), and the terminal is
     * somebody else's. */
    pid_t foreground = tcgetpgrp(STDIN_FILENO);
    if (foreground > 0 && foreground != getpgrp()) {
        return;
    }
    if (terminal.brackets) {
        terminal.brackets = 0;
        (void)ah_io_write_all(STDOUT_FILENO, BRACKETS_OFF, strlen(BRACKETS_OFF));
    }
    /* TCSANOW: draining waits for ever after ^S. */
    while (tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes) == -1 && errno == EINTR) {
    }
    terminal.taken = 0;
}

static void on_fatal_signal(int signal)
{
    int saved = errno;
    ah_terminal_restore();
    errno = saved;
    raise(signal); /* SA_RESETHAND: now with its default, as soon as this handler returns */
}

/* Only signals that have their default: those that signals.h or a sanitizer handles are theirs.
 * signals.h puts this handler back when it catches one later and lets go of it again. */
static void catch_fatal_signals(bool catch)
{
    for (size_t i = 0; i < sizeof fatal_signals / sizeof *fatal_signals; i++) {
        struct sigaction now;
        if (sigaction(fatal_signals[i], NULL, &now) != 0 || (now.sa_flags & SA_SIGINFO) != 0) {
            continue;
        }
        struct sigaction next = {.sa_handler = SIG_DFL};
        if (catch) {
            next.sa_handler = on_fatal_signal;
            next.sa_flags = (int)SA_RESETHAND;
        }
        if (now.sa_handler == (catch ? SIG_DFL : on_fatal_signal)) {
            sigaction(fatal_signals[i], &next, NULL);
        }
    }
}

int ah_terminal_open(struct ah_err *err)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        return ah_err_set(err, -ENOTTY, "stdin and stdout have to be a terminal");
    }
    if (terminal.open) {
        return ah_err_set(err, -EBUSY, "a line editor is open already; there is one terminal");
    }
    if (tcgetattr(STDIN_FILENO, &terminal.modes) != 0) {
        return ah_err_sys(err, -errno, "cannot read the terminal's modes");
    }
    terminal.open = true;
    terminal.pid = getpid();
    if (!terminal.at_exit) {
        terminal.at_exit = atexit(ah_terminal_restore) == 0;
    }
    return 0;
}

void ah_terminal_close(void)
{
    ah_terminal_restore();
    catch_fatal_signals(false);
    terminal.taken = 0;
    terminal.open = false;
}

void ah_terminal_take(void)
{
    terminal.taken = 1;
    catch_fatal_signals(true);
}

void ah_terminal_bracket_pastes(void)
{
    terminal.brackets = 1;
    (void)ah_io_write_all(STDOUT_FILENO, BRACKETS_ON, strlen(BRACKETS_ON));
}

unsigned char ah_terminal_char(int index)
{
    return terminal.modes.c_cc[index];
}

bool ah_terminal_is_dumb(void)
{
    const char *term = getenv("TERM");
    return term == NULL || *term == '\0' || strcmp(term, "dumb") == 0 ||
           strcmp(term, "emacs") == 0 || strcmp(term, "unknown") == 0;
}

void ah_terminal_size(size_t *ret_columns, size_t *ret_rows)
{
    struct winsize size = {0};
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    *ret_columns = size.ws_col > 1 ? size.ws_col : 80;
    *ret_rows = size.ws_row;
}

bool ah_terminal_read(struct ah_buf *in, size_t max)
{
    for (size_t total = 0; total < max;) {
        /* Not O_NONBLOCK, which the terminal's other users would get as well. */
        struct pollfd poll_fd = {.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(&poll_fd, 1, 0) <= 0 || ah_buf_reserve(in, READ_STEP) < 0) {
            return false;
        }
        ssize_t got = ah_io_read(STDIN_FILENO, in->data + in->len, READ_STEP);
        if (got <= 0) {
            return got != -EAGAIN;
        }
        in->len += (size_t)got;
        in->data[in->len] = '\0';
        total += (size_t)got;
        if (!terminal.taken && in->data[in->len - 1] != '\n') {
            return false; /* a line cut by Ctrl-D: a second one means the end, as ever */
        }
    }
    return false;
}
