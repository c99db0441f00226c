/*
 * The ledger: an append-only file of JSON lines that says what happened to every task, and which
 * ends the conversation holds.
 *
 *   {"type":"queued","task":"5f0c2a91","time":1763811234.4,"owed":true,"command":"pytest", ...}
 *   {"type":"start","task":"5f0c2a91","time":1763811234.5,"pid":4711,"born":123456, ...}
 *   {"type":"end","task":"5f0c2a91","time":...,"status":"failed","code":1,"seconds":48.2}
 *   {"type":"owed","task":...}       its end is to be told by a notice, which the order did not say
 *   {"type":"waived","task":...}     its end is not to be told, after all
 *   {"type":"delivered","task":...}  a message that is on disk holds its end
 *
 * This is the writing side, for the supervisor and the host: each record is one write of one line,
 * so that records of two processes never mix and only the last line can be torn. The reading side
 * is lua/agenthost/ledger.lua.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens or makes the file (0600) for appending; a torn last line is ended first. The descriptor, or
 * negative errno. */
int ah_ledger_open(const char *path);

struct ah_ledger_start {
    const char *task;
    const char *command;
    const char *label; /* or NULL */
    const char *cwd;
    const char *output;
    pid_t pid;     /* also its process group */
    uint64_t born; /* start time in clock ticks since boot, as /proc has it: tells a reused pid */
    bool owed;     /* its end is to be told by a notice */
    bool detached;
};

struct ah_ledger_end {
    const char *task;
    const char *status;
    int code;           /* -1: none */
    int signal;         /* 0: none */
    const char *reason; /* "" or NULL: none */
    double seconds;
};

/* Each appends one record. 0 or negative errno (-EIO for a write cut short). The first is for an
 * order that nobody has begun: of its fields pid and born do not count. */
int ah_ledger_add_queued(int fd, const struct ah_ledger_start *queued);
int ah_ledger_add_start(int fd, const struct ah_ledger_start *start);
int ah_ledger_add_end(int fd, const struct ah_ledger_end *end);
int ah_ledger_add_mark(int fd, const char *type, const char *task);
