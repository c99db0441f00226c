/*
 * The protocol between the host and the supervisor, for both ends.
 *
 * One message is one packet of a SOCK_SEQPACKET socket: a header with magic, version, type and
 * total length, then the fields of that type in order. Numbers are in the machine's byte order
 * (both ends are on one machine); a text is its length and its bytes. A packet that is cut, too
 * long, of another version or with bytes left over is refused as a whole with -EBADMSG.
 *
 * Types and their fields are the structs below. Texts and lists in a decoded struct are borrowed
 * from the packet; the lists' pointer arrays are freed by ah_link_spawn_clear.
 */
#pragma once

#include "buf.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AH_LINK_VERSION 2
#define AH_LINK_MAX (180 * 1024)        /* bytes of a packet: below the default socket buffer */
#define AH_LINK_MAX_ITEMS 4096          /* words of a command, variables of an environment */
#define AH_LINK_FD 3                    /* the supervisor's end of the socket */
#define AH_LINK_MARKER "AGENTHOST_TASK" /* in the environment of every task: "<run>:<task id>" */

enum ah_link_type {
    AH_LINK_HELLO = 1, /* host -> supervisor, first */
    AH_LINK_SPAWN,     /* host -> supervisor */
    AH_LINK_KILL,      /* host -> supervisor */
    AH_LINK_WRITE,     /* host -> supervisor */
    AH_LINK_STARTED,   /* supervisor -> host */
    AH_LINK_WRITTEN,   /* supervisor -> host; for every WRITE, unless the task has ended */
    AH_LINK_ENDED,     /* supervisor -> host; exactly one for every SPAWN */
};

struct ah_link_hello {
    const char *run; /* names this host: part of the marker of its tasks */
    uint32_t sweep;  /* 1: end what an earlier supervisor of this run has left */
};

enum ah_link_flags {
    AH_LINK_OWED = 1,     /* its end is to be told by a notice: noted in the ledger */
    AH_LINK_DETACHED = 2, /* goes on when the host is gone */
    AH_LINK_STDIN = 4,    /* a pipe as stdin, fed by WRITE */
    AH_LINK_PTY = 8,      /* a terminal of its own, fed by WRITE */
};

struct ah_link_spawn {
    uint64_t task;       /* the host's number for it */
    const char *id;      /* 8 hexadecimal digits */
    const char *command; /* what people are shown */
    const char *label;   /* "" for none */
    const char *cwd;
    const char *output;  /* path of the file for stdout and stderr */
    const char *ledger;  /* path; "" for none */
    uint32_t flags;      /* enum ah_link_flags */
    int32_t nice;        /* added to the niceness */
    int64_t timeout_ns;  /* 0: none */
    int64_t grace_ns;    /* between TERM and KILL */
    uint64_t max_output; /* bytes; 0: no limit, as for the next three */
    uint64_t max_memory; /* bytes of address space a process */
    uint64_t max_cpu;    /* seconds of processor time a process */
    uint64_t max_files;  /* open at once */
    uint32_t argc;
    char **argv; /* NULL at the end */
    uint32_t envc;
    char **env; /* "NAME=value" sets, "NAME" unsets; NULL at the end */
};

#define AH_LINK_SIGNAL_MAX 31 /* the signals that everybody has */

struct ah_link_kill {
    uint64_t task;
    int64_t grace_ns; /* 0: KILL at once */
    uint32_t signal;  /* what comes before KILL; 0: TERM */
    const char *by;   /* who wants it, for the reason */
};

#define AH_LINK_WRITE_MAX (64 * 1024)  /* bytes of one WRITE */
#define AH_LINK_FEED_MAX (1024 * 1024) /* bytes that wait for one command to read them */

struct ah_link_write {
    uint64_t task;
    uint32_t end; /* 1: nothing more comes; the command reads its end of file */
    uint32_t len;
    const char *data;
};

struct ah_link_started {
    uint64_t task;
    int64_t pid;
};

struct ah_link_written {
    uint64_t task;
    uint32_t len;  /* bytes that no longer wait */
    int32_t error; /* errno when they are lost, because the command does not read any more; or 0 */
};

struct ah_link_ended {
    uint64_t task;
    uint32_t status; /* enum ah_task_status */
    int32_t code;    /* exit code, or -1 */
    int32_t signal;  /* or 0 */
    int64_t run_ns;  /* how long it ran */
    const char *reason;
};

/* Each appends one whole packet to an empty `packet`. 0, -ENOMEM, or -EMSGSIZE beyond AH_LINK_MAX.
 */
int ah_link_put_hello(struct ah_buf *packet, const struct ah_link_hello *hello);
int ah_link_put_spawn(struct ah_buf *packet, const struct ah_link_spawn *spawn);
int ah_link_put_kill(struct ah_buf *packet, const struct ah_link_kill *kill);
int ah_link_put_write(struct ah_buf *packet, const struct ah_link_write *write);
int ah_link_put_written(struct ah_buf *packet, const struct ah_link_written *written);
int ah_link_put_started(struct ah_buf *packet, const struct ah_link_started *started);
int ah_link_put_ended(struct ah_buf *packet, const struct ah_link_ended *ended);

/* The type of a packet (header checked), or -EBADMSG. `len` is what recv returned. */
int ah_link_type(const void *packet, size_t len);

/* Each reads a packet of its type. 0, -ENOMEM or -EBADMSG. The packet's bytes have to be followed
 * by nothing; texts hold no NUL byte. */
int ah_link_get_hello(const void *packet, size_t len, struct ah_link_hello *ret_hello);
int ah_link_get_spawn(const void *packet, size_t len, struct ah_link_spawn *ret_spawn);
int ah_link_get_kill(const void *packet, size_t len, struct ah_link_kill *ret_kill);
int ah_link_get_write(const void *packet, size_t len, struct ah_link_write *ret_write);
int ah_link_get_written(const void *packet, size_t len, struct ah_link_written *ret_written);
int ah_link_get_started(const void *packet, size_t len, struct ah_link_started *ret_started);
int ah_link_get_ended(const void *packet, size_t len, struct ah_link_ended *ret_ended);
void ah_link_spawn_clear(struct ah_link_spawn *spawn);
