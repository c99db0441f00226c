/*
 * agenthost-supervisor: the parent of all tasks of one host.
 *
 * Started by the host with one end of a SOCK_SEQPACKET pair as descriptor AH_LINK_FD; not for use
 * by hand. It outlives a crash of the host: when the host's end closes (or on SIGTERM) it ends
 * every task and everything that tasks have left behind, and leaves.
 */
#include "core/clock.h"
#include "core/io.h"
#include "core/superlink.h"
#include "look.h"
#include "proc.h"
#include "task.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHUTDOWN_GRACE (2000LL * 1000000)
#define KILL_PATIENCE (1000LL * 1000000) /* for those that were sent KILL to be gone */

/* Packets that the host has not taken yet; at most two for every task that it has ordered. */
struct outgoing {
    struct outgoing *next;
    size_t len;
    char data[];
};

/* One supervisor a process: its state is static so that the callbacks of struct tasks find it. */
static struct {
    struct tasks tasks;
    struct outgoing *first;
    struct outgoing **end;
    int epoll_fd;
    int signal_fd;
    uint32_t link_events; /* what the epoll set looks for at the link */
    bool host_gone;
    char run[128];
    char *packet; /* AH_LINK_MAX + 1 bytes: where the next one is received */
} self = {.end = &self.first, .link_events = EPOLLIN};

static void flush_outgoing(void)
{
    while (self.first != NULL && !self.host_gone) {
        ssize_t n =
            send(AH_LINK_FD, self.first->data, self.first->len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
            break;
        }
        if (n < 0) {
            self.host_gone = true;
            break;
        }
        struct outgoing *sent = self.first;
        self.first = sent->next;
        if (self.first == NULL) {
            self.end = &self.first;
        }
        free(sent);
    }
    uint32_t events = EPOLLIN | (self.first != NULL ? EPOLLOUT : 0);
    if (events != self.link_events) {
        struct epoll_event event = {.events = events, .data.ptr = &self};
        epoll_ctl(self.epoll_fd, EPOLL_CTL_MOD, AH_LINK_FD, &event);
        self.link_events = events;
    }
}

static void send_packet(int rc, struct ah_buf *packet)
{
    if (self.host_gone) {
        ah_buf_clear(packet); /* the ledger has it */
        return;
    }
    struct outgoing *out = rc == 0 ? malloc(sizeof *out + packet->len) : NULL;
    if (out != NULL) {
        out->next = NULL;
        out->len = packet->len;
        memcpy(out->data, packet->data, packet->len);
        *self.end = out;
        self.end = &out->next;
    }
    ah_buf_clear(packet);
    if (out == NULL) {
        /* A result that cannot be told must not be lost in silence: without a supervisor the host
         * reports its tasks as lost, which is the truth. */
        _exit(70);
    }
    flush_outgoing();
}

static void tell_started(const struct ah_link_started *started)
{
    struct ah_buf packet;
    ah_buf_init(&packet, AH_LINK_MAX);
    send_packet(ah_link_put_started(&packet, started), &packet);
}

static void tell_written(const struct ah_link_written *written)
{
    struct ah_buf packet;
    ah_buf_init(&packet, AH_LINK_MAX);
    send_packet(ah_link_put_written(&packet, written), &packet);
}

static void tell_ended(const struct ah_link_ended *ended)
{
    struct ah_buf packet;
    ah_buf_init(&packet, AH_LINK_MAX);
    send_packet(ah_link_put_ended(&packet, ended), &packet);
}

/* Ends what an earlier supervisor of the same host has left. */
static void sweep_run(void)
{
    char marker[192];
    snprintf(marker, sizeof marker, AH_LINK_MARKER "=%s:", self.run);
    struct proc_match match = {.marker = marker, .marker_prefix = true};
    int64_t deadline = ah_clock_now() + KILL_PATIENCE;
    while (proc_signal(&match, SIGKILL) > 0 && ah_clock_now() < deadline) {
        usleep(5 * 1000);
    }
}

static void handle_packet(const char *packet, size_t len)
{
    struct ah_link_hello hello;
    struct ah_link_spawn spawn;
    struct ah_link_kill kill_order;
    struct ah_link_write write_order;
    switch (ah_link_type(packet, len)) {
    case AH_LINK_HELLO:
        if (ah_link_get_hello(packet, len, &hello) == 0) {
            snprintf(self.run, sizeof self.run, "%s", hello.run);
            if (hello.sweep != 0) {
                sweep_run();
            }
        }
        break;
    case AH_LINK_SPAWN:
        if (ah_link_get_spawn(packet, len, &spawn) == 0) {
            tasks_start(&self.tasks, &spawn);
            ah_link_spawn_clear(&spawn);
        }
        break;
    case AH_LINK_KILL:
        if (ah_link_get_kill(packet, len, &kill_order) == 0) {
            tasks_kill(&self.tasks, &kill_order);
        }
        break;
    case AH_LINK_WRITE:
        if (ah_link_get_write(packet, len, &write_order) == 0) {
            tasks_write(&self.tasks, &write_order);
        }
        break;
    default:
        break; /* malformed, or a type that only the supervisor sends: refused */
    }
}

static void receive_packets(void)
{
    /* A bounded batch, so that a flood of orders does not keep ends and deadlines waiting. */
    for (int i = 0; i < 16; i++) {
        ssize_t n = recv(AH_LINK_FD, self.packet, AH_LINK_MAX + 1, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            self.host_gone = true;
            return;
        }
        if ((size_t)n <= AH_LINK_MAX) {
            handle_packet(self.packet, (size_t)n);
        }
    }
}

static void read_signals(void)
{
    struct signalfd_siginfo info;
    while (ah_io_read(self.signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            tasks_reap_adopted(&self.tasks);
        } else {
            self.host_gone = true;
        }
    }
}

/* One wait and all that it brings, but no later than `deadline`. */
static void run_once(int64_t deadline)
{
    struct epoll_event events[64];
    int n = epoll_wait(self.epoll_fd, events, 64, ah_clock_poll_timeout(deadline));
    bool readable = false;
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == &self) {
            readable = (events[i].events & ~(uint32_t)EPOLLOUT) != 0;
            flush_outgoing();
        } else if (events[i].data.ptr == &self.signal_fd) {
            read_signals();
        } else if (events[i].data.ptr == &self.tasks.inotify_fd) {
            look_take_events(&self.tasks);
        } else {
            tasks_handle_event(&self.tasks, events[i].data.ptr, events[i].events);
        }
    }
    if (readable && !self.host_gone) {
        receive_packets();
    }
}

/* Keeps descriptors 0 to 2 occupied and closes everything beyond the link. */
static void settle_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < 3; fd++) {
        dup2(null, fd);
    }
    close_range(AH_LINK_FD + 1, ~0U, 0);
    fcntl(AH_LINK_FD, F_SETFD, FD_CLOEXEC);
    for (int fd = 0; fd < 3; fd++) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

static void survive(int signal)
{
    (void)signal; /* the write that raised it says so, too */
}

/* All at their default, whatever was inherited, but for those that a write may raise. A handler in
 * place of SIG_IGN, because commands would inherit that. */
static void set_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    for (int signal = 1; signal < NSIG; signal++) {
        sigaction(signal, &action, NULL); /* fails for KILL, STOP and libc's own: as it should */
    }
    action.sa_handler = survive;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}

static int set_up(void)
{
    int type;
    socklen_t size = sizeof type;
    if (getsockopt(AH_LINK_FD, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
        fprintf(stderr,
                "agenthost-supervisor is started by agenthost; it does nothing by itself\n");
        return 2;
    }
    settle_descriptors();
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    /* A write that fails is told, and does not end us; tasks get the default action back. */
    set_signals();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    self.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    self.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    self.packet = malloc(AH_LINK_MAX + 1);
    if (self.signal_fd < 0 || self.epoll_fd < 0 || self.packet == NULL ||
        tasks_init(&self.tasks, self.epoll_fd, self.run) != 0 ||
        getrlimit(RLIMIT_NOFILE, &self.tasks.files) != 0) {
        return 71;
    }
    struct rlimit most = {.rlim_cur = self.tasks.files.rlim_max,
                          .rlim_max = self.tasks.files.rlim_max};
    setrlimit(RLIMIT_NOFILE, &most); /* one descriptor a task; tasks get the old limit back */
    self.tasks.started = tell_started;
    self.tasks.written = tell_written;
    self.tasks.ended = tell_ended;
    struct epoll_event link = {.events = EPOLLIN, .data.ptr = &self};
    struct epoll_event signal = {.events = EPOLLIN, .data.ptr = &self.signal_fd};
    struct epoll_event written = {.events = EPOLLIN, .data.ptr = &self.tasks.inotify_fd};
    if (epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, AH_LINK_FD, &link) != 0 ||
        epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, self.signal_fd, &signal) != 0) {
        return 71;
    }
    if (epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, self.tasks.inotify_fd, &written) != 0) {
        ah_io_close(&self.tasks.inotify_fd); /* it works without */
    }
    return 0;
}

/* The host is gone: TERM to everything that is not detached, a grace, KILL, until nobody is left.
 */
static void end_everything(void)
{
    epoll_ctl(self.epoll_fd, EPOLL_CTL_DEL, AH_LINK_FD, NULL);
    struct proc_match all = {
        .descendants = true,
        .spare = tasks_is_detached_group,
        .spare_marked = tasks_any_detached(&self.tasks) ? tasks_is_detached_marker : NULL,
        .spare_data = &self.tasks,
    };
    proc_signal(&all, SIGTERM);
    tasks_end_all(&self.tasks, SHUTDOWN_GRACE, "by the end of agenthost");
    int64_t deadline = ah_clock_now() + SHUTDOWN_GRACE;
    while (proc_signal(&all, 0) > 0 && ah_clock_now() < deadline) {
        run_once(ah_clock_now() + 20LL * 1000000);
        tasks_tick(&self.tasks);
    }
    deadline = ah_clock_now() + KILL_PATIENCE;
    while (proc_signal(&all, SIGKILL) > 0 && ah_clock_now() < deadline) {
        run_once(ah_clock_now() + 5LL * 1000000);
        tasks_tick(&self.tasks);
    }
    /* The last ones have died since the last look: their ends belong into the ledger, too. */
    tasks_finish_exited(&self.tasks);
}

/* Stays with the detached tasks until they have ended, so that the ledger says how. */
static void outlive_host(void)
{
    if (!tasks_any_detached(&self.tasks)) {
        return; /* the host takes the closing of the link for the end: not before it is one */
    }
    close(AH_LINK_FD);
    while (tasks_any_detached(&self.tasks)) {
        run_once(tasks_tick(&self.tasks));
    }
}

int main(void)
{
    int rc = set_up();
    if (rc != 0) {
        return rc;
    }
    while (!self.host_gone) {
        run_once(tasks_tick(&self.tasks));
    }
    end_everything();
    outlive_host();
    return 0;
}
