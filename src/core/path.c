#include "path.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* mkdir that is content with a directory that is there. */
static int make_dir(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) == 0) {
        return 0;
    }
    int rc = -errno;
    /* On a read-only file system, or above what we may write, a directory that exists may say
     * something else than EEXIST. */
    if (stat(path, &st) == 0) {
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    }
    return rc;
}

int ah_path_mkdir_private(const char *path, struct ah_err *err)
{
    if (*path == '\0') {
        return ah_err_set(err, -EINVAL, "an empty path");
    }
    char *copy = strdup(path);
    if (copy == NULL) {
        return ah_err_sys(err, -ENOMEM, "cannot make '%s'", path);
    }
    int rc = 0;
    for (char *at = copy + 1; rc == 0 && *at != '\0'; at++) {
        if (*at == '/') {
            *at = '\0';
            rc = make_dir(copy);
            if (rc < 0) {
                ah_err_sys(err, rc, "cannot make the directory '%s'", copy);
            }
            *at = '/';
        }
    }
    if (rc == 0) {
        rc = make_dir(copy);
        if (rc < 0) {
            ah_err_sys(err, rc, "cannot make the directory '%s'", copy);
        }
    }
    free(copy);
    return rc;
}

/* *ret_home is NULL when there is none. 0 or -ENOMEM. */
static int home_dir(char **ret_home)
{
    const char *env = getenv("HOME");
    if (env != NULL && env[0] == '/') {
        *ret_home = strdup(env);
        return *ret_home != NULL ? 0 : -ENOMEM;
    }
    struct passwd entry;
    struct passwd *found = NULL;
    size_t size = 16384;
    char *data = malloc(size);
    if (data == NULL) {
        return -ENOMEM;
    }
    *ret_home = NULL;
    int rc = 0;
    if (getpwuid_r(geteuid(), &entry, data, size, &found) == 0 && found != NULL &&
        found->pw_dir != NULL && found->pw_dir[0] == '/') {
        *ret_home = strdup(found->pw_dir);
        rc = *ret_home != NULL ? 0 : -ENOMEM;
    }
    free(data);
    return rc;
}

int ah_path_xdg(enum ah_path_xdg kind, char **ret_path, struct ah_err *err)
{
    static const struct {
        const char *variable;
        const char *below_home;
    } places[] = {
        [AH_PATH_STATE] = {"XDG_STATE_HOME", ".local/state"},
        [AH_PATH_CONFIG] = {"XDG_CONFIG_HOME", ".config"},
        [AH_PATH_DATA] = {"XDG_DATA_HOME", ".local/share"},
        [AH_PATH_CACHE] = {"XDG_CACHE_HOME", ".cache"},
    };
    const char *env = getenv(places[kind].variable);
    char *path = NULL;
    if (env != NULL && env[0] == '/') {
        path = strdup(env);
    } else {
        char *home;
        int rc = home_dir(&home);
        if (rc < 0) {
            return ah_err_sys(err, rc, "%s", places[kind].variable);
        }
        if (home == NULL) {
            return ah_err_set(err, -ENOENT, "no home directory: set HOME or %s",
                              places[kind].variable);
        }
        if (asprintf(&path, "%s/%s", home, places[kind].below_home) < 0) {
            path = NULL;
        }
        free(home);
    }
    if (path == NULL) {
        return ah_err_sys(err, -ENOMEM, "%s", places[kind].variable);
    }
    *ret_path = path;
    return 0;
}

int ah_path_executable_dir(char **ret_path, struct ah_err *err)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path);
    if (len < 0) {
        return ah_err_sys(err, -errno, "cannot read /proc/self/exe");
    }
    const char *slash = memrchr(path, '/', (size_t)len); /* a " (deleted)" goes with the name */
    if (slash == NULL || (size_t)len == sizeof path) {
        return ah_err_set(err, -ENAMETOOLONG, "the path of the program is too long");
    }
    char *dir = strndup(path, slash > path ? (size_t)(slash - path) : 1);
    if (dir == NULL) {
        return ah_err_sys(err, -ENOMEM, "cannot find the program");
    }
    *ret_path = dir;
    return 0;
}

int ah_path_random_hex(size_t count, char *ret_hex)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t done = 0; done < count;) {
        unsigned char bytes[64];
        size_t want = count - done < sizeof bytes ? count - done : sizeof bytes;
        ssize_t n = getrandom(bytes, want, 0);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        for (ssize_t i = 0; i < n; i++, done++) {
            ret_hex[2 * done] = digits[bytes[i] >> 4];
            ret_hex[2 * done + 1] = digits[bytes[i] & 15];
        }
    }
    ret_hex[2 * count] = '\0';
    return 0;
}
