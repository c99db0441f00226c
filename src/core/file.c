#include "file.h"

#include "io.h"
#include "path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_STEP 65536

const char *ah_file_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "link";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    default:
        return "device";
    }
}

static int check_regular(mode_t mode, const char *shown, struct ah_err *err)
{
    if (S_ISREG(mode)) {
        return 0;
    }
    return ah_err_set(err, S_ISDIR(mode) ? -EISDIR : -EINVAL, "'%s' is a %s, not a file", shown,
                      ah_file_type(mode));
}

/* ---- on descriptors ---- */

int ah_file_read_fd(int fd, const char *shown, size_t max, struct ah_buf *out, uint64_t *ret_size,
                    struct ah_err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return ah_err_sys(err, -errno, "cannot read '%s'", shown);
    }
    int rc = check_regular(st.st_mode, shown, err);
    if (rc < 0) {
        return rc;
    }
    size_t before = out->len;
    size_t expected = st.st_size > 0 ? (size_t)st.st_size : 0;
    rc = ah_buf_reserve(out, expected < max ? expected : max);
    ssize_t n = 1;
    while (rc == 0 && n > 0 && out->len - before < max) {
        size_t left = max - (out->len - before);
        /* The size is a hint only: the file may grow, and files in /proc say 0. */
        size_t room = out->cap > out->len ? out->cap - out->len : READ_STEP;
        size_t step = left < room ? left : room;
        rc = ah_buf_reserve(out, step);
        if (rc == 0) {
            n = ah_io_read(fd, out->data + out->len, step);
            if (n < 0) {
                rc = (int)n;
            } else {
                out->len += (size_t)n;
            }
        }
    }
    char more;
    if (rc == 0 && n > 0 && ah_io_read(fd, &more, 1) == 1 && expected <= max) {
        expected = max + 1;
    }
    if (rc < 0) {
        out->len = before;
    }
    if (out->data != NULL) {
        out->data[out->len] = '\0';
    }
    if (rc < 0) {
        return ah_err_sys(err, rc, "cannot read '%s'", shown);
    }
    size_t got = out->len - before;
    *ret_size = got < max || expected < got ? got : expected;
    return 0;
}

/* Fills the temporary file and gives it its owner and mode. */
static int fill(int fd, const void *data, size_t len, const struct stat *old, int mode, bool sync)
{
    int rc = ah_io_write_all(fd, data, len);
    if (rc < 0) {
        return rc;
    }
    if (old != NULL && (old->st_uid != geteuid() || old->st_gid != getegid()) &&
        fchown(fd, old->st_uid, old->st_gid) < 0 && mode >= 0) {
        mode &= 0777; /* not set-uid for somebody else */
    }
    if (mode >= 0 && fchmod(fd, (mode_t)mode) < 0) {
        return -errno;
    }
    return sync && fsync(fd) < 0 ? -errno : 0;
}

int ah_file_replace_at(int dir_fd, const char *name, const char *shown, const void *data,
                       size_t len, const struct ah_file_write *how, struct ah_err *err)
{
    struct stat old;
    bool exists = fstatat(dir_fd, name, &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (!exists && errno != ENOENT) {
        return ah_err_sys(err, -errno, "cannot write '%s'", shown);
    }
    if (exists) {
        int rc = check_regular(old.st_mode, shown, err);
        if (rc < 0) {
            return rc;
        }
        if (faccessat(dir_fd, name, W_OK, AT_EACCESS) < 0) {
            return ah_err_sys(err, -errno, "cannot write '%s'", shown);
        }
    }
    int mode = how->mode >= 0 ? how->mode : exists ? (int)(old.st_mode & 07777) : -1;

    char id[AH_PATH_HEX_SIZE(8)];
    char temp[sizeof ".agenthost-.tmp" + sizeof id];
    int rc = ah_path_random_hex(8, id);
    if (rc < 0) {
        return ah_err_sys(err, rc, "cannot write '%s'", shown);
    }
    snprintf(temp, sizeof temp, ".agenthost-%s.tmp", id);
    int fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    mode >= 0 ? 0600 : (mode_t)how->fresh);
    if (fd < 0) {
        return ah_err_sys(err, -errno, "cannot write '%s': its directory", shown);
    }
    rc = fill(fd, data, len, exists ? &old : NULL, mode, how->sync);
    if (close(fd) < 0 && rc == 0 && errno != EINTR) {
        rc = -errno; /* NFS tells here that the disk is full */
    }
    if (rc == 0 && renameat(dir_fd, temp, dir_fd, name) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        unlinkat(dir_fd, temp, 0);
        return ah_err_sys(err, rc, "cannot write '%s'", shown);
    }
    return 0;
}

static const char *entry_type(int fd, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN) {
        return ah_file_type(DTTOIF(entry->d_type));
    }
    return fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? ah_file_type(st.st_mode)
                                                                     : "device";
}

static int add_entry(struct ah_file_list *list, size_t *cap, const char *name, const char *type)
{
    if (list->count == *cap) {
        size_t more = *cap > 0 ? *cap * 2 : 32;
        struct ah_file_entry *entries = realloc(list->entries, more * sizeof *entries);
        if (entries == NULL) {
            return -ENOMEM;
        }
        list->entries = entries;
        *cap = more;
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return -ENOMEM;
    }
    list->entries[list->count++] = (struct ah_file_entry){.name = copy, .type = type};
    return 0;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct ah_file_entry *)a)->name, ((const struct ah_file_entry *)b)->name);
}

int ah_file_list_fd(int fd, const char *shown, size_t max, struct ah_file_list *ret_list,
                    struct ah_err *err)
{
    struct ah_file_list list = {0};
    size_t cap = 0;
    int rc = 0;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        rc = -errno;
        ah_io_close(&fd);
        return ah_err_sys(err, rc, "cannot list '%s'", shown);
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            rc = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (list.count >= max) {
            list.more = true;
            break;
        }
        rc = add_entry(&list, &cap, entry->d_name, entry_type(dirfd(dir), entry));
        if (rc < 0) {
            break;
        }
    }
    closedir(dir);
    if (rc < 0) {
        ah_file_list_clear(&list);
        return ah_err_sys(err, rc, "cannot list '%s'", shown);
    }
    if (list.count > 1) {
        qsort(list.entries, list.count, sizeof *list.entries, compare_entries);
    }
    *ret_list = list;
    return 0;
}

void ah_file_list_clear(struct ah_file_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->entries[i].name);
    }
    free(list->entries);
    *list = (struct ah_file_list){0};
}

int ah_file_write_fd(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n >= 0) {
            at += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            if (poll(&room, 1, -1) < 0 && errno != EINTR) {
                return -errno;
            }
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* ---- on paths ---- */

int ah_file_read(const char *path, size_t max, struct ah_buf *out, uint64_t *ret_size,
                 struct ah_err *err)
{
    /* Non-blocking, so that opening a FIFO does not wait for its writer. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return ah_err_sys(err, -errno, "cannot open '%s'", path);
    }
    int rc = ah_file_read_fd(fd, path, max, out, ret_size, err);
    ah_io_close(&fd);
    return rc;
}

int ah_file_write(const char *path, const void *data, size_t len, int mode, struct ah_err *err)
{
    char target[PATH_MAX];
    if (realpath(path, target) == NULL) {
        if (errno != ENOENT || strlen(path) >= sizeof target) {
            return ah_err_sys(err, errno != ENOENT ? -errno : -ENAMETOOLONG, "cannot write '%s'",
                              path);
        }
        memcpy(target, path, strlen(path) + 1);
    }
    char *slash = strrchr(target, '/');
    const char *name = slash != NULL ? slash + 1 : target;
    const char *dir = slash == NULL ? "." : slash == target ? "/" : target;
    if (*name == '\0') {
        return ah_err_set(err, -EISDIR, "'%s' is a directory, not a file", path);
    }
    int dir_fd;
    if (slash > target) {
        *slash = '\0';
    }
    dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) {
        return ah_err_sys(err, -errno, "cannot open the directory of '%s'", path);
    }
    struct ah_file_write how = {.mode = mode >= 0 ? mode : -1, .fresh = 0600, .sync = true};
    int rc = ah_file_replace_at(dir_fd, name, path, data, len, &how, err);
    ah_io_close(&dir_fd);
    return rc;
}

int ah_file_list(const char *path, size_t max, struct ah_file_list *ret_list, struct ah_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return ah_err_sys(err, -errno, "cannot list '%s'", path);
    }
    return ah_file_list_fd(fd, path, max, ret_list, err);
}

int ah_file_stat(const char *path, struct stat *ret_stat, struct ah_err *err)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        return ah_err_sys(err, -errno, "cannot look at '%s'", path);
    }
    *ret_stat = st;
    return 0;
}

int ah_file_open_append(const char *path, int *ret_fd, struct ah_err *err)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    if (fd < 0) {
        return ah_err_sys(err, -errno, "cannot open '%s'", path);
    }
    int rc = fstat(fd, &st) == 0 ? check_regular(st.st_mode, path, err)
                                 : ah_err_sys(err, -errno, "cannot open '%s'", path);
    if (rc < 0) {
        ah_io_close(&fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}
