/*
 * Whole files: read, replace, list. What root.h (confined) and the host's own state (not confined)
 * share. Not for streams: a task's output and the ledger have their own writers.
 *
 * All functions return 0 or a negative errno and fill err (which may be NULL); `shown` is the name
 * of the file in messages.
 */
#pragma once

#include "buf.h"
#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* "file", "directory", "link", "fifo", "socket" or "device". Static. */
const char *ah_file_type(mode_t mode);

/* ---- on descriptors ---- */

/* Appends at most max bytes of the regular file `fd` (borrowed, read from its position) to `out`.
 * *ret_size: the size of the file, larger than what was added exactly when there is more. Anything
 * but a regular file is refused: -EISDIR, or -EINVAL for FIFOs, sockets and devices. */
int ah_file_read_fd(int fd, const char *shown, size_t max, struct ah_buf *out, uint64_t *ret_size,
                    struct ah_err *err);

struct ah_file_write {
    int mode;  /* permission bits of the file; -1: those it has, or those below if it is new */
    int fresh; /* for a new file; the umask applies to them */
    bool sync; /* on disk before it takes the name */
};

/* Replaces the file `name` (no slash in it) in the directory `dir_fd` (borrowed) in one step: a new
 * file beside it is written and renamed. So a reader sees the old or the new text, and when this
 * fails (disk full, no permission) the old one is untouched and nothing is left beside it. Owner
 * and group are kept where permission allows; hard links are cut. Refused: anything but a regular
 * file (a symbolic link too), and a file that this user may not write. */
int ah_file_replace_at(int dir_fd, const char *name, const char *shown, const void *data,
                       size_t len, const struct ah_file_write *how, struct ah_err *err);

struct ah_file_entry {
    char *name;
    const char *type; /* as ah_file_type; of the entry itself, links are not followed */
};

struct ah_file_list {
    struct ah_file_entry *entries; /* sorted by the bytes of their names */
    size_t count;
    bool more; /* the directory has more than were asked for */
};

/* The entries of the directory `fd` (*moved*: closed here) without "." and "..", at most max. The
 * list is *owned*; untouched on failure. */
int ah_file_list_fd(int fd, const char *shown, size_t max, struct ah_file_list *ret_list,
                    struct ah_err *err);

void ah_file_list_clear(struct ah_file_list *list);

/* Writes all of it to a descriptor that may be non-blocking (then it waits for room). 0 or negative
 * errno; -EPIPE needs an ignored SIGPIPE to get here. */
int ah_file_write_fd(int fd, const void *data, size_t len);

/* ---- on paths, not confined: for the host's own files ---- */

int ah_file_read(const char *path, size_t max, struct ah_buf *out, uint64_t *ret_size,
                 struct ah_err *err);

/* As ah_file_replace_at, synced; a symbolic link is written through. A new file gets `mode`, an
 * existing one too unless mode is -1 (then it keeps its own; a new one gets 0600). */
int ah_file_write(const char *path, const void *data, size_t len, int mode, struct ah_err *err);

int ah_file_list(const char *path, size_t max, struct ah_file_list *ret_list, struct ah_err *err);

/* Follows links. */
int ah_file_stat(const char *path, struct stat *ret_stat, struct ah_err *err);

/* Opens a regular file for appending, made with 0600 if it is missing. */
int ah_file_open_append(const char *path, int *ret_fd, struct ah_err *err);
