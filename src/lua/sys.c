/* agenthost.sys: see lua/agenthost/_meta/sys.lua for what Lua sees. This part: time, environment,
 * terminal. */
#include "sys.h"

#include "binding.h"
#include "box.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/foreground.h"
#include "core/io.h"
#include "core/path.h"
#include "core/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECRETS "agenthost.sys.secrets"
#define RANDOM_MAX 1024

static const char secrets_key = 0; /* its address is the registry key of the store */

const char *ah_sys_check_text(lua_State *L, int arg, size_t *len)
{
    luaL_checktype(L, arg, LUA_TSTRING);
    return lua_tolstring(L, arg, len);
}

const char *ah_sys_check_path(lua_State *L, int arg)
{
    size_t len;
    const char *path = ah_sys_check_text(L, arg, &len);
    luaL_argcheck(L, len > 0, arg, "an empty path");
    luaL_argcheck(L, strlen(path) == len, arg, "contains a NUL byte");
    return path;
}

/* ---- time ---- */

static int sys_now(lua_State *L)
{
    lua_pushnumber(L, (double)ah_clock_now() / 1e9);
    return 1;
}

static int sys_wall(lua_State *L)
{
    lua_pushnumber(L, ah_clock_wall());
    return 1;
}

static int sys_timestamp(lua_State *L)
{
    struct timespec now;
    struct tm tm;
    char seconds[32];
    char text[48];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &tm);
    int len = snprintf(text, sizeof text, "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
    lua_pushlstring(L, text, (size_t)len);
    return 1;
}

/* ---- environment ---- */

static int secrets_gc(lua_State *L)
{
    struct ah_secret_store **store = lua_touserdata(L, 1);
    ah_secret_free(*store);
    *store = NULL;
    return 0;
}

/* The one store of this Lua state. Borrowed from the registry. */
static struct ah_secret_store *secrets(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &secrets_key);
    struct ah_secret_store **store = lua_touserdata(L, -1);
    lua_pop(L, 1);
    struct ah_secret_store *found = store != NULL ? *store : NULL;
    if (found == NULL) { /* the state is being closed */
        luaL_error(L, "the environment is closed");
    }
    return found;
}

static void make_secrets(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", secrets_gc}, {NULL, NULL}};
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &secrets_key) == LUA_TNIL) {
        ah_handle_type(L, SECRETS, NULL, meta);
        struct ah_secret_store **store = lua_newuserdatauv(L, sizeof *store, 0);
        *store = NULL;
        luaL_setmetatable(L, SECRETS);
        *store = ah_secret_new();
        if (*store == NULL) {
            luaL_error(L, "not enough memory");
        }
        lua_rawsetp(L, LUA_REGISTRYINDEX, &secrets_key);
    }
    lua_pop(L, 1);
}

static int sys_getenv(lua_State *L)
{
    size_t len;
    const char *name = ah_sys_check_text(L, 1, &len);
    luaL_argcheck(L, strlen(name) == len, 1, "contains a NUL byte");
    const char *value = ah_secret_get(secrets(L), name);
    if (value == NULL) {
        value = getenv(name);
    }
    lua_pushstring(L, value); /* NULL is nil */
    return 1;
}

static int sys_hide_env(lua_State *L)
{
    lua_Integer hidden = 0;
    if (lua_type(L, 1) == LUA_TSTRING) {
        lua_settop(L, 1);
        lua_createtable(L, 1, 0);
        lua_insert(L, 1);
        lua_rawseti(L, 1, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_Integer i = 1; lua_rawgeti(L, 1, i) != LUA_TNIL; i++) {
        size_t len;
        const char *pattern = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        luaL_argcheck(L, pattern != NULL && strlen(pattern) == len, 1,
                      "expected patterns: strings without NUL bytes");
        int rc = ah_secret_hide(secrets(L), pattern);
        if (rc < 0) {
            return luaL_error(L, "not enough memory");
        }
        hidden += rc;
        lua_pop(L, 1);
    }
    lua_pushinteger(L, hidden);
    return 1;
}

static int sys_redact(lua_State *L)
{
    size_t len;
    const char *text = ah_sys_check_text(L, 1, &len);
    const struct ah_secret_store *store = secrets(L);
    struct ah_buf *out = ah_box_new(L);
    if (ah_secret_redact(store, text, len, out) < 0) {
        return luaL_error(L, "not enough memory");
    }
    ah_box_push(L, out);
    return 1;
}

static int push_path(lua_State *L, int rc, char *path, const struct ah_err *err)
{
    if (rc < 0) {
        return ah_push_failure(L, err, NULL);
    }
    struct ah_buf *box = lua_touserdata(L, -1);
    rc = ah_buf_add_str(box, path);
    free(path);
    if (rc < 0) {
        return luaL_error(L, "not enough memory");
    }
    ah_box_push(L, box);
    return 1;
}

static int sys_xdg(lua_State *L)
{
    static const char *const kinds[] = {
        [AH_PATH_STATE] = "state",
        [AH_PATH_CONFIG] = "config",
        [AH_PATH_DATA] = "data",
        [AH_PATH_CACHE] = "cache",
        NULL,
    };
    int kind = luaL_checkoption(L, 1, NULL, kinds);
    struct ah_err err;
    char *path = NULL;
    ah_box_new(L);
    int rc = ah_path_xdg((enum ah_path_xdg)kind, &path, &err);
    return push_path(L, rc, path, &err);
}

static int sys_executable_dir(lua_State *L)
{
    struct ah_err err;
    char *path = NULL;
    ah_box_new(L);
    int rc = ah_path_executable_dir(&path, &err);
    return push_path(L, rc, path, &err);
}

/* stop_self(): as Ctrl-Z would; returns when the process is continued, or cannot be */
static int sys_stop_self(lua_State *L)
{
    (void)L;
    ah_foreground_stop();
    return 0;
}

/* signal_group(pgid, "TERM"|"KILL") -> true | nil, message, code */
static int sys_signal_group(lua_State *L)
{
    static const char *const names[] = {"TERM", "KILL", NULL};
    static const int numbers[] = {SIGTERM, SIGKILL};
    lua_Integer group = luaL_checkinteger(L, 1);
    luaL_argcheck(L, group > 1 && group <= INT_MAX, 1, "not a process group");
    int signal = numbers[luaL_checkoption(L, 2, NULL, names)];
    if (kill(-(pid_t)group, signal) != 0) {
        struct ah_err err;
        ah_err_sys(&err, -errno, "cannot signal the process group %d", (int)group);
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushboolean(L, true);
    return 1;
}

static bool connects(int family, const struct sockaddr *address, socklen_t size)
{
    /* This machine answers itself in microseconds, one way or the other; the bound is for a
     * listener whose queue is full. */
    const struct timeval patience = {.tv_usec = 50000};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = fd >= 0 &&
                setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
                connect(fd, address, size) == 0;
    ah_io_close(&fd);
    return open;
}

/* port_is_open(port) -> whether something on this machine takes TCP connections there */
static int sys_port_is_open(lua_State *L)
{
    lua_Integer port = luaL_checkinteger(L, 1);
    luaL_argcheck(L, port >= 1 && port <= 65535, 1, "not a port");
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    lua_pushboolean(L, connects(AF_INET, (const struct sockaddr *)&v4, sizeof v4) ||
                           connects(AF_INET6, (const struct sockaddr *)&v6, sizeof v6));
    return 1;
}

static int sys_pid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

static int sys_random_hex(lua_State *L)
{
    char hex[AH_PATH_HEX_SIZE(RANDOM_MAX)];
    lua_Integer count = luaL_checkinteger(L, 1);
    luaL_argcheck(L, count >= 1 && count <= RANDOM_MAX, 1, "expected 1 to 1024 bytes");
    int rc = ah_path_random_hex((size_t)count, hex);
    if (rc < 0) {
        struct ah_err err;
        ah_err_sys(&err, rc, "no random bytes");
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushlstring(L, hex, 2 * (size_t)count);
    return 1;
}

/* ---- terminal ---- */

static int check_fd(lua_State *L, lua_Integer min, lua_Integer max)
{
    lua_Integer fd = luaL_checkinteger(L, 1);
    luaL_argcheck(L, fd >= min && fd <= max, 1,
                  min == 1 ? "expected 1 (stdout) or 2 (stderr)" : "expected 0, 1 or 2");
    return (int)fd;
}

static int sys_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty(check_fd(L, 0, 2)));
    return 1;
}

static int sys_terminal_size(lua_State *L)
{
    struct winsize size;
    if (ioctl(check_fd(L, 0, 2), TIOCGWINSZ, &size) < 0 || size.ws_col == 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, size.ws_col);
    lua_pushinteger(L, size.ws_row);
    return 2;
}

static int sys_read_fd(lua_State *L)
{
    int fd = check_fd(L, 0, 0);
    char bytes[16384];
    ssize_t n = ah_io_read(fd, bytes, sizeof bytes);
    if (n < 0) {
        struct ah_err err;
        ah_err_sys(&err, (int)n, "cannot read from stdin");
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushlstring(L, bytes, (size_t)n);
    return 1;
}

static const char moved_stdout; /* its address is the key of the descriptor in the registry */

/* move_stdout() -> fd | nil, message, code */
static int sys_move_stdout(lua_State *L)
{
    struct ah_err err;
    fflush(stdout);
    int fd = fcntl(1, F_DUPFD_CLOEXEC, 3);
    if (fd < 0 || dup2(2, 1) < 0) {
        ah_err_sys(&err, -errno, "cannot move standard output");
        if (fd >= 0) {
            close(fd);
        }
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushinteger(L, fd);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &moved_stdout);
    return 1;
}

static int sys_write_fd(lua_State *L)
{
    bool moved =
        lua_rawgetp(L, LUA_REGISTRYINDEX, &moved_stdout) != LUA_TNIL && lua_rawequal(L, 1, -1);
    lua_pop(L, 1);
    int fd = moved ? (int)lua_tointeger(L, 1) : check_fd(L, 1, 2);
    size_t len;
    const char *text = ah_sys_check_text(L, 2, &len);
    int rc = ah_file_write_fd(fd, text, len);
    if (rc < 0) {
        struct ah_err err;
        ah_err_sys(&err, rc, "cannot write to %s", fd == 2 ? "stderr" : "stdout");
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* sys.run_in_terminal(words) -> exit code; or nil, message, code */
static int sys_run_in_terminal(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Unsigned count = lua_rawlen(L, 1);
    luaL_argcheck(L, count > 0 && count <= 1000, 1, "needs 1 to 1000 words");
    char **argv = lua_newuserdatauv(L, (count + 1) * sizeof *argv, 0);
    luaL_checkstack(L, (int)count, "too many words");
    for (lua_Unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1); /* stays on the stack */
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "words are strings");
        argv[i] = (char *)(uintptr_t)lua_tostring(L, -1);
    }
    argv[count] = NULL;
    struct ah_err err;
    int code;
    if (ah_foreground_run(argv, &code, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushinteger(L, code);
    return 1;
}

int luaopen_agenthost_sys(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"run_in_terminal", sys_run_in_terminal},
        {"executable_dir", sys_executable_dir},
        {"getenv", sys_getenv},
        {"hide_env", sys_hide_env},
        {"isatty", sys_isatty},
        {"move_stdout", sys_move_stdout},
        {"now", sys_now},
        {"pid", sys_pid},
        {"stop_self", sys_stop_self},
        {"signal_group", sys_signal_group},
        {"port_is_open", sys_port_is_open},
        {"random_hex", sys_random_hex},
        {"read_fd", sys_read_fd},
        {"redact", sys_redact},
        {"terminal_size", sys_terminal_size},
        {"timestamp", sys_timestamp},
        {"wall", sys_wall},
        {"write_fd", sys_write_fd},
        {"xdg", sys_xdg},
        {NULL, NULL},
    };
    make_secrets(L);
    luaL_newlib(L, functions);
    ah_sys_add_files(L);
    return 1;
}
