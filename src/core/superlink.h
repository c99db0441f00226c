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

#define AH_LINK_VERSION 1
#define AH_LINK_MAX (180 * 1024)    /* bytes of a packet: below the default socket buffer */
#define AH_LINK_MAX_ITEMS 4096      /* words of a command, variables of an environment */
#define AH_LINK_FD 3                /* the supervisor's end of the socket */
#define AH_LINK_MARKER "AGENTHOST_TASK" /* in the environment of every task: "<run>:<task id>" */

enum ah_link_type {
    AH_LINK_HELLO = 1, /* host -> supervisor, first */
    AH_LINK_SPAWN,     /* host -> supervisor */
    AH_LINK_KILL,      /* host -> supervisor */
    AH_LINK_STARTED,   /* supervisor -> host */
    AH_LINK_ENDED,     /* supervisor -> host; exactly one for every SPAWN */
};

struct ah_link_hello {
    const char *run;   /* names this host: part of the marker of its tasks */
    uint32_t sweep;    /* 1: end what an earlier supervisor of this run has left */
};

struct ah_link_spawn {
    uint64_t task;     /* the host's number for it */
    const char *id;    /* 8 hexadecimal digits */
    const char *cwd;
    const char *output; /* path of the file for stdout and stderr */
    int64_t timeout_ns; /* 0: none */
    int64_t grace_ns;   /* between TERM and KILL */
    uint64_t max_output; /* bytes; 0: no limit */
    uint32_t argc;
    char **argv; /* NULL at the end */
    uint32_t envc;
    char **env; /* "NAME=value" sets, "NAME" unsets; NULL at the end */
};

struct ah_link_kill {
    uint64_t task;
    int64_t grace_ns; /* 0: KILL at once */
};

struct ah_link_started {
    uint64_t task;
    int64_t pid;
};

enum ah_link_how { AH_LINK_EXITED, AH_LINK_SIGNALED, AH_LINK_NOT_STARTED };
enum ah_link_cause { AH_LINK_BY_ITSELF, AH_LINK_TIMEOUT, AH_LINK_KILLED, AH_LINK_OUTPUT_LIMIT };
enum ah_link_stage {
    AH_LINK_STAGE_NONE,
    AH_LINK_STAGE_FORK,
    AH_LINK_STAGE_OUTPUT,
    AH_LINK_STAGE_CWD,
    AH_LINK_STAGE_EXEC,
    AH_LINK_STAGE_LIMIT, /* the supervisor's own bound on running tasks */
};

struct ah_link_ended {
    uint64_t task;
    uint32_t how;   /* enum ah_link_how */
    uint32_t cause; /* enum ah_link_cause */
    int32_t value;  /* exit code, signal number, or errno */
    uint32_t stage; /* enum ah_link_stage, when it was not started */
};

/* Each appends one whole packet to an empty `packet`. 0, -ENOMEM, or -EMSGSIZE beyond AH_LINK_MAX. */
int ah_link_put_hello(struct ah_buf *packet, const struct ah_link_hello *hello);
int ah_link_put_spawn(struct ah_buf *packet, const struct ah_link_spawn *spawn);
int ah_link_put_kill(struct ah_buf *packet, const struct ah_link_kill *kill);
int ah_link_put_started(struct ah_buf *packet, const struct ah_link_started *started);
int ah_link_put_ended(struct ah_buf *packet, const struct ah_link_ended *ended);

/* The type of a packet (header checked), or -EBADMSG. `len` is what recv returned. */
int ah_link_type(const void *packet, size_t len);

/* Each reads a packet of its type. 0, -ENOMEM or -EBADMSG. The packet's bytes have to be followed by
 * nothing; texts hold no NUL byte. */
int ah_link_get_hello(const void *packet, size_t len, struct ah_link_hello *ret_hello);
int ah_link_get_spawn(const void *packet, size_t len, struct ah_link_spawn *ret_spawn);
int ah_link_get_kill(const void *packet, size_t len, struct ah_link_kill *ret_kill);
int ah_link_get_started(const void *packet, size_t len, struct ah_link_started *ret_started);
int ah_link_get_ended(const void *packet, size_t len, struct ah_link_ended *ret_ended);
void ah_link_spawn_clear(struct ah_link_spawn *spawn);
