/*
 * Files confined to a root: the tools' view of the workspace.
 *
 * Every path is resolved by the kernel (openat2 with RESOLVE_BENEATH), so that neither "..", nor a
 * symbolic link, nor a directory that is exchanged for a link in the middle of an operation leads
 * out. A path may be relative to the root, or absolute when it names something under the root.
 * Links inside that stay inside are followed; an absolute link is followed only as the last part
 * of the path of a write. Not a sandbox for commands: it confines the host's own file operations.
 *
 * All functions return 0 or a negative errno and fill err (which may be NULL): -EXDEV for "is
 * outside", -ENOSYS on a kernel before 5.6, -EAGAIN when the tree was moved about the whole time.
 * A root may be used by several threads at once.
 */
#pragma once

#include "buf.h"
#include "err.h"
#include "file.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct ah_root;

/* *ret_root is *owned*. It stays the same directory when that is renamed later. */
int ah_root_open(const char *path, struct ah_root **ret_root, struct ah_err *err);

/* NULL is fine. */
void ah_root_free(struct ah_root *root);

/* The absolute path, without symbolic links. Borrowed. */
const char *ah_root_path(const struct ah_root *root);

/* As ah_file_read_fd. */
int ah_root_read(const struct ah_root *root, const char *path, size_t max, struct ah_buf *out,
                 uint64_t *ret_size, struct ah_err *err);

/* Replaces the file in one step (as ah_file_replace_at, not synced), or makes it, with the
 * directories above it that are missing. An existing file keeps its mode; a link is written
 * through. */
int ah_root_write(const struct ah_root *root, const char *path, const void *data, size_t len,
                  struct ah_err *err);

/* As ah_file_list_fd. "." is the root. */
int ah_root_list(const struct ah_root *root, const char *path, size_t max,
                 struct ah_file_list *ret_list, struct ah_err *err);

/* Follows links that stay inside. */
int ah_root_stat(const struct ah_root *root, const char *path, struct stat *ret_stat,
                 struct ah_err *err);
