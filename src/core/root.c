#include "root.h"

#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel gives up with EAGAIN when a directory is renamed while a ".." is resolved. */
#define AGAIN_MAX 128
#define LINKS_MAX 40

struct ah_root {
    int fd;      /* O_PATH */
    char *path;  /* real path */
    char *given; /* what it was opened by, when that was absolute: may have links in it */
};

int ah_root_open(const char *path, struct ah_root **ret_root, struct ah_err *err)
{
    struct ah_root *root = calloc(1, sizeof *root);
    if (root == NULL) {
        return ah_err_sys(err, -ENOMEM, "cannot open '%s'", path);
    }
    int rc;
    root->fd = -1;
    root->path = realpath(path, NULL);
    if (root->path == NULL) {
        rc = ah_err_sys(err, -errno, "cannot open the directory '%s'", path);
        goto fail;
    }
    root->given = strdup(path[0] == '/' ? path : root->path);
    if (root->given == NULL) {
        rc = ah_err_sys(err, -ENOMEM, "cannot open '%s'", path);
        goto fail;
    }
    root->fd = open(root->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root->fd < 0) {
        rc = ah_err_sys(err, -errno, "cannot open the directory '%s'", path);
        goto fail;
    }
    *ret_root = root;
    return 0;
fail:
    ah_root_free(root);
    return rc;
}

void ah_root_free(struct ah_root *root)
{
    if (root != NULL) {
        ah_io_close(&root->fd);
        free(root->path);
        free(root->given);
        free(root);
    }
}

const char *ah_root_path(const struct ah_root *root)
{
    return root->path;
}

/* ---- paths ---- */

/* Skips slashes and "." parts. */
static const char *skip_empty(const char *path)
{
    for (;;) {
        bool dot = path[0] == '.' && (path[1] == '/' || path[1] == '\0');
        if (*path == '/' || dot) {
            path++;
        } else {
            return path;
        }
    }
}

/* What is left of the absolute path behind `prefix`, "." if nothing; NULL when it is not under it.
 * Compares part by part; a ".." in the prefix matches nothing. */
static const char *strip_prefix(const char *path, const char *prefix)
{
    path = skip_empty(path);
    prefix = skip_empty(prefix);
    while (*prefix != '\0') {
        size_t len = strcspn(prefix, "/");
        if (strcspn(path, "/") != len || memcmp(path, prefix, len) != 0 ||
            (len == 2 && memcmp(path, "..", 2) == 0)) {
            return NULL;
        }
        path = skip_empty(path + len);
        prefix = skip_empty(prefix + len);
    }
    return *path != '\0' ? path : ".";
}

/* The path as one relative to the root; a pointer into `path` or static. */
static int make_relative(const struct ah_root *root, const char *path, const char **ret_relative,
                         struct ah_err *err)
{
    if (*path == '\0') {
        return ah_err_set(err, -EINVAL, "an empty path");
    }
    const char *relative = path;
    if (*path == '/') {
        relative = strip_prefix(path, root->path);
        if (relative == NULL) {
            relative = strip_prefix(path, root->given);
        }
        if (relative == NULL) {
            return ah_err_set(err, -EXDEV, "'%s' is outside the workspace %s", path, root->path);
        }
    }
    *ret_relative = relative;
    return 0;
}

/* True when the text of the path alone climbs out. */
static bool climbs_out(const char *path)
{
    long depth = 0;
    for (path = skip_empty(path); *path != '\0'; path = skip_empty(path)) {
        size_t len = strcspn(path, "/");
        depth += len == 2 && memcmp(path, "..", 2) == 0 ? -1 : 1;
        if (depth < 0) {
            return true;
        }
        path += len;
    }
    return false;
}

/* ---- resolving ---- */

/* A descriptor, or negative errno. */
static int open_beneath(const struct ah_root *root, const char *relative, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    for (int tries = 0;; tries++) {
        long fd = syscall(SYS_openat2, root->fd, relative, &how, sizeof how);
        if (fd >= 0) {
            return (int)fd;
        }
        if (errno != EINTR && (errno != EAGAIN || tries >= AGAIN_MAX)) {
            return -errno;
        }
    }
}

static int resolve_error(const struct ah_root *root, int rc, const char *path, const char *relative,
                         struct ah_err *err)
{
    switch (rc) {
    case -EXDEV:
        if (climbs_out(relative)) {
            return ah_err_set(err, rc, "'%s' is outside the workspace %s", path, root->path);
        }
        return ah_err_set(err, rc,
                          "'%s' is outside the workspace %s: a symbolic link on the way leads out "
                          "or is absolute",
                          path, root->path);
    case -ENOSYS:
        return ah_err_set(err, rc, "files cannot be confined to %s: this needs openat2 (Linux 5.6)",
                          root->path);
    case -EAGAIN:
        return ah_err_set(err, rc, "'%s': directories are being moved about; try again", path);
    case -ENXIO: /* what opening a socket says */
        return ah_err_set(err, rc, "'%s' is a socket or a device, not a file", path);
    default:
        return ah_err_sys(err, rc, "cannot open '%s'", path);
    }
}

/* make_relative and open_beneath with the errors told. */
static int open_path(const struct ah_root *root, const char *path, int flags, struct ah_err *err)
{
    const char *relative = path;
    int rc = make_relative(root, path, &relative, err);
    if (rc < 0) {
        return rc;
    }
    int fd = open_beneath(root, relative, flags);
    return fd >= 0 ? fd : resolve_error(root, fd, path, relative, err);
}

/* ---- operations ---- */

int ah_root_read(const struct ah_root *root, const char *path, size_t max, struct ah_buf *out,
                 uint64_t *ret_size, struct ah_err *err)
{
    /* Non-blocking, so that opening a FIFO does not wait for its writer. */
    int fd = open_path(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, err);
    if (fd < 0) {
        return fd;
    }
    int rc = ah_file_read_fd(fd, path, max, out, ret_size, err);
    ah_io_close(&fd);
    return rc;
}

int ah_root_list(const struct ah_root *root, const char *path, size_t max,
                 struct ah_file_list *ret_list, struct ah_err *err)
{
    int fd = open_path(root, path, O_RDONLY | O_DIRECTORY, err);
    return fd >= 0 ? ah_file_list_fd(fd, path, max, ret_list, err) : fd;
}

int ah_root_stat(const struct ah_root *root, const char *path, struct stat *ret_stat,
                 struct ah_err *err)
{
    struct stat st;
    int fd = open_path(root, path, O_PATH, err);
    if (fd < 0) {
        return fd;
    }
    int rc = fstat(fd, &st) < 0 ? ah_err_sys(err, -errno, "cannot look at '%s'", path) : 0;
    ah_io_close(&fd);
    if (rc == 0) {
        *ret_stat = st;
    }
    return rc;
}

/* ---- writing ---- */

/* Cuts the last part off: "a/b/c" becomes "a/b" and *ret_name "c"; "c" becomes "." (in `path` there
 * is room for that). False when the path ends in a slash, "." or "..": it names a directory. */
static bool split(char *path, char *ret_name)
{
    char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strlen(name) > NAME_MAX) {
        return false;
    }
    memcpy(ret_name, name, strlen(name) + 1);
    if (slash == NULL) {
        memcpy(path, ".", 2);
    } else {
        *slash = '\0'; /* not the first byte: the path is relative */
    }
    return true;
}

static bool has_dotdot(const char *path)
{
    for (path = skip_empty(path); *path != '\0'; path = skip_empty(path)) {
        size_t len = strcspn(path, "/");
        if (len == 2 && memcmp(path, "..", 2) == 0) {
            return true;
        }
        path += len;
    }
    return false;
}

/* Opens the directory `dir` (O_PATH), after making what of it is missing. Each part is opened from
 * the root again, so that every step is resolved by the kernel's rules. */
static int open_or_make_dir(const struct ah_root *root, const char *dir)
{
    const int flags = O_PATH | O_DIRECTORY;
    int fd = open_beneath(root, dir, flags);
    if (fd != -ENOENT) {
        return fd;
    }
    char part[PATH_MAX];
    size_t end = 0;
    int parent = open_beneath(root, ".", flags);
    while (parent >= 0) {
        size_t begin = end + (size_t)(skip_empty(dir + end) - (dir + end));
        if (dir[begin] == '\0') {
            return parent;
        }
        end = begin + strcspn(dir + begin, "/");
        memcpy(part, dir, end);
        part[end] = '\0';
        fd = open_beneath(root, part, flags);
        if (fd == -ENOENT) {
            /* "new/../x" names nothing: nothing is made for it either. */
            if (has_dotdot(dir + begin)) {
                fd = -ENOENT;
            } else if (mkdirat(parent, part + begin, 0777) < 0 && errno != EEXIST) {
                fd = -errno;
            } else {
                fd = open_beneath(root, part, flags); /* ENOENT: a link that leads nowhere */
            }
        }
        ah_io_close(&parent);
        parent = fd;
    }
    return parent;
}

/* Puts the link's target in the place of the link: path is dir + "/" + target, or the target when
 * that is an absolute one under the root. */
static int follow(const struct ah_root *root, const char *dir, const char *target, char *path)
{
    char next[PATH_MAX];
    int len;
    if (target[0] == '/') {
        const char *relative = target;
        int rc = make_relative(root, target, &relative, NULL);
        if (rc < 0) {
            return rc;
        }
        len = snprintf(next, sizeof next, "%s", relative);
    } else {
        len = snprintf(next, sizeof next, "%s/%s", dir, target);
    }
    if (len < 0 || (size_t)len >= sizeof next) {
        return -ENAMETOOLONG;
    }
    memcpy(path, next, (size_t)len + 1);
    return 0;
}

/* Finds where a write to `relative` goes: the directory (a descriptor is returned) and the name in
 * it, after all symbolic links, also a last one that leads to nothing yet. */
static int find_target(const struct ah_root *root, const char *relative, char *ret_name)
{
    char path[PATH_MAX];
    char target[PATH_MAX];
    if (strlen(relative) >= sizeof path) {
        return -ENAMETOOLONG;
    }
    memcpy(path, relative, strlen(relative) + 1);
    for (int links = 0; links < LINKS_MAX; links++) {
        if (!split(path, ret_name)) {
            int fd = open_beneath(root, path, O_PATH);
            int rc = fd < 0 && fd != -ENOENT ? fd : -EISDIR;
            ah_io_close(&fd);
            return rc;
        }
        int dir_fd = open_or_make_dir(root, path);
        if (dir_fd < 0) {
            return dir_fd;
        }
        ssize_t len = readlinkat(dir_fd, ret_name, target, sizeof target);
        if (len < 0) { /* no link, or nothing there yet */
            int rc = errno == EINVAL || errno == ENOENT ? dir_fd : -errno;
            if (rc < 0) {
                ah_io_close(&dir_fd);
            }
            return rc;
        }
        ah_io_close(&dir_fd);
        if ((size_t)len == sizeof target) {
            return -ENAMETOOLONG;
        }
        target[len] = '\0';
        int rc = follow(root, path, target, path);
        if (rc < 0) {
            return rc;
        }
    }
    return -ELOOP;
}

int ah_root_write(const struct ah_root *root, const char *path, const void *data, size_t len,
                  struct ah_err *err)
{
    const char *relative = path;
    char name[NAME_MAX + 1];
    int rc = make_relative(root, path, &relative, err);
    if (rc < 0) {
        return rc;
    }
    int dir_fd = find_target(root, relative, name);
    if (dir_fd == -EISDIR) {
        return ah_err_set(err, dir_fd, "'%s' is a directory, not a file", path);
    }
    if (dir_fd < 0) {
        return resolve_error(root, dir_fd, path, relative, err);
    }
    const struct ah_file_write how = {.mode = -1, .fresh = 0666};
    rc = ah_file_replace_at(dir_fd, name, path, data, len, &how, err);
    ah_io_close(&dir_fd);
    return rc;
}
