/*
 * Looking through /proc for the processes of a task.
 *
 * Two questions: who is in the task's process group, and who carries its marker in the environment
 * (a descendant that left the group with setsid). Only asked when a task is ended by force, when
 * one that has ended may have left something, or when the host is gone, because a look costs about
 * 10 microseconds a process of the machine.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_match {
    pid_t group;        /* members of this process group; 0: do not look for one */
    pid_t spared;       /* members of this group count, but are sent nothing; 0: none */
    const char *marker; /* "NAME=value" in the environment; NULL: do not look */
    bool marker_prefix; /* the marker is the start of the variable, not all of it */
    bool only_children; /* of those that match, only the children of this process */
    bool descendants;   /* every descendant of this process... */
    /* ...but those for whose group or an ancestor's, or for whose AH_LINK_MARKER variable (all of
     * it, "NAME=value"), one of these says true. NULL: does not say so. */
    bool (*spare)(const void *data, pid_t group);
    bool (*spare_marked)(const void *data, const char *variable);
    const void *spare_data;
};

/* The processes of the machine at one moment. All zero: not looked at yet. */
struct proc_scan {
    struct process *list; /* by pid */
    size_t count;
    int proc_fd;
    char *environment; /* room to read one */
    int error;         /* for want of descriptors or memory not all could be read: the errno */
};

/* As proc_signal, among the processes of `scan`, which is filled when it is empty. What has begun
 * since is not found: to be cleared when that matters. */
int proc_signal_in(struct proc_scan *scan, const struct proc_match *match, int signal);
void proc_scan_clear(struct proc_scan *scan);

/* Sends signal (0: none) to every living process that matches one of the questions, this process
 * itself left out, and has it go on when it is stopped, so that it takes the signal. Zombies do not
 * count. Returns how many matched, or a negative errno: one of proc_is_shortage when not all of
 * them could be looked at (those that were found have the signal). */
int proc_signal(const struct proc_match *match, int signal);

/* Whether a negative errno says that descriptors or memory are short: that passes, and what could
 * not be read may be there all the same. */
bool proc_is_shortage(int rc);

/* The number of children of this (single-threaded) process, zombies included, or a negative errno
 * where the kernel does not tell. */
int proc_count_children(void);

/* When a process was started, in clock ticks since boot, as /proc/PID/stat has it: tells it from a
 * later one with the same pid. 0 when it cannot be read. */
uint64_t proc_birth(pid_t pid);

/* This moment in the same unit. */
uint64_t proc_tick(void);
