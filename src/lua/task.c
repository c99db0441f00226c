/*
 * agenthost.task: commands in the background.
 */
#include "core/task.h"

#include "binding.h"
#include "core/clock.h"
#include "core/io.h"
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TYPE "agenthost.task"
#define OUTPUT_DEFAULT (512 * 1024) /* bytes of head and of tail, unless asked for otherwise */

struct handle {
    struct ah_task *task;
};

static struct ah_task *check_task(lua_State *L, int index)
{
    struct handle *handle = luaL_checkudata(L, index, TYPE);
    luaL_argcheck(L, handle->task != NULL, index, "the task handle is closed");
    return handle->task;
}

/* Pushes an empty handle; the caller fills it in. */
static struct handle *push_handle(lua_State *L)
{
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    handle->task = NULL;
    luaL_setmetatable(L, TYPE);
    return handle;
}

static int task_gc(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, TYPE);
    ah_task_unref(handle->task);
    handle->task = NULL;
    return 0;
}

/* ---- run ---- */

static const char *check_plain(lua_State *L, int index, const char *what)
{
    size_t len;
    if (lua_type(L, index) != LUA_TSTRING) {
        luaL_error(L, "%s: expected a string, got a %s", what, luaL_typename(L, index));
    }
    const char *text = lua_tolstring(L, index, &len);
    if (strlen(text) != len) {
        luaL_error(L, "%s: contains a NUL byte", what);
    }
    return text;
}

/* The words of the command as a NULL-terminated array in a new userdata on the stack; *ret_shown is
 * what people are shown. A text is run by `shell` -c. */
static char **push_argv(lua_State *L, int index, const char *shell, const char **ret_shown)
{
    if (lua_type(L, index) == LUA_TSTRING) {
        const char **argv = lua_newuserdatauv(L, 4 * sizeof *argv, 0);
        argv[0] = shell;
        argv[1] = "-c";
        argv[2] = check_plain(L, index, "command");
        argv[3] = NULL;
        *ret_shown = argv[2];
        return (char **)argv;
    }
    if (!lua_istable(L, index) || lua_rawlen(L, index) == 0) {
        luaL_error(L, "command: expected a text for the shell or a list of words, got %s",
                   lua_istable(L, index) ? "an empty table" : luaL_typename(L, index));
    }
    size_t count = lua_rawlen(L, index);
    const char **argv = lua_newuserdatauv(L, (count + 1) * sizeof *argv, 0);
    luaL_Buffer shown;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        argv[i] = check_plain(L, -1, "command");
        lua_pop(L, 1); /* the list keeps it alive */
    }
    argv[count] = NULL;
    luaL_buffinit(L, &shown);
    for (size_t i = 0; i < count; i++) {
        luaL_addstring(&shown, i > 0 ? " " : "");
        luaL_addstring(&shown, argv[i]);
    }
    luaL_pushresult(&shown);
    *ret_shown = lua_tostring(L, -1);
    return (char **)argv;
}

/* The option env = { NAME = "value", OTHER = false } as a NULL-terminated array in a new userdata;
 * the texts are kept in a table below it. */
static char **push_env(lua_State *L, int index)
{
    if (lua_getfield(L, index, "env") == LUA_TNIL) {
        return NULL;
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "option 'env': expected a table, got a %s", luaL_typename(L, -1));
    }
    int env = lua_gettop(L);
    lua_newtable(L); /* env texts */
    lua_Integer count = 0;
    lua_pushnil(L);
    while (lua_next(L, env) != 0) { /* env texts name value */
        lua_pushvalue(L, -2);
        const char *name = check_plain(L, -1, "option 'env': name");
        if (*name == '\0' || strchr(name, '=') != NULL) {
            luaL_error(L, "option 'env': '%s' is not a variable's name", name);
        }
        if (lua_isboolean(L, -2) && !lua_toboolean(L, -2)) {
            lua_pushstring(L, name);
        } else {
            const char *value = check_plain(L, -2, "option 'env': value (or false to unset)");
            lua_pushfstring(L, "%s=%s", name, value);
        }
        lua_rawseti(L, env + 1, ++count);
        lua_pop(L, 2);
    }
    const char **array = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *array, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, env + 1, i + 1);
        array[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    array[count] = NULL;
    return (char **)array;
}

/* A field of require("agenthost.defaults").task. */
static double default_number(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "agenthost.defaults");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "task");
    lua_getfield(L, -1, name);
    if (lua_type(L, -1) != LUA_TNUMBER) {
        luaL_error(L, "agenthost.defaults: task.%s is not a number", name);
    }
    double value = lua_tonumber(L, -1);
    lua_pop(L, 3);
    return value;
}

/* task.run(command, options) -> task | nil, message, code */
static int task_run(lua_State *L)
{
    static const char *const known[] = {"cwd",    "env",   "grace", "label",   "max_output",
                                        "notify", "queue", "shell", "timeout", NULL};
    lua_settop(L, 2);
    ah_opt_check(L, 2, known);
    struct ah_task_options options = {0};
    options.label = ah_opt_cstring(L, 2, "label", NULL);
    options.timeout = ah_opt_seconds(L, 2, "timeout", -1);
    options.grace = ah_opt_seconds(L, 2, "grace", -1);
    lua_Integer max_output = ah_opt_integer(L, 2, "max_output", -1, 1, LLONG_MAX);
    if (options.timeout < 0) {
        options.timeout = default_number(L, "timeout");
    }
    if (options.grace < 0) {
        options.grace = default_number(L, "grace");
    }
    options.max_output =
        max_output > 0 ? (uint64_t)max_output : (uint64_t)default_number(L, "max_output");
    if (options.timeout == 0) {
        return luaL_error(L, "option 'timeout': expected seconds > 0, or math.huge for no limit");
    }
    options.timeout = isinf(options.timeout) ? 0 : options.timeout;
    if (lua_getfield(L, 2, "queue") != LUA_TNIL) {
        options.queue = ah_check_queue(L, lua_gettop(L));
    }
    options.notify = ah_opt_bool(L, 2, "notify", options.queue != NULL);
    char cwd[PATH_MAX];
    const char *directory = ah_opt_cstring(L, 2, "cwd", NULL);
    if (directory == NULL || directory[0] != '/') {
        if (getcwd(cwd, sizeof cwd) == NULL) {
            return luaL_error(L, "the working directory is gone");
        }
        directory = directory == NULL ? cwd : lua_pushfstring(L, "%s/%s", cwd, directory);
    }
    options.cwd = directory;
    const char *shell = ah_opt_cstring(L, 2, "shell", "/bin/sh");
    options.argv = push_argv(L, 1, shell, &options.command);
    options.env = push_env(L, 2);
    struct handle *handle = push_handle(L);
    struct ah_err err;
    if (ah_task_run(ah_services_get(L)->runner, &options, &handle->task, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    return 1;
}

/* ---- asking ---- */

/* Pushes status and a table that says more. */
static int push_state(lua_State *L, struct ah_task *task)
{
    struct ah_task_state state;
    ah_task_get_state(task, &state);
    const char *status = ah_task_status_name(state.status);
    lua_pushstring(L, status);
    lua_createtable(L, 0, 9);
    lua_pushstring(L, status);
    lua_setfield(L, -2, "status");
    lua_pushboolean(L, state.ended);
    lua_setfield(L, -2, "ended");
    if (state.code >= 0) {
        lua_pushinteger(L, state.code);
        lua_setfield(L, -2, "code");
    }
    if (state.signal > 0) {
        lua_pushinteger(L, state.signal);
        lua_setfield(L, -2, "signal");
    }
    if (state.reason[0] != '\0') {
        lua_pushstring(L, state.reason);
        lua_setfield(L, -2, "reason");
    }
    if (state.pid > 0) {
        lua_pushinteger(L, state.pid);
        lua_setfield(L, -2, "pid");
    }
    lua_pushnumber(L, state.started);
    lua_setfield(L, -2, "started");
    lua_pushnumber(L, state.seconds);
    lua_setfield(L, -2, "seconds");
    lua_pushboolean(L, state.notify);
    lua_setfield(L, -2, "notify");
    return 2;
}

/* task:status() -> status, details */
static int task_status(lua_State *L)
{
    return push_state(L, check_task(L, 1));
}

static bool has_ended(struct ah_task *task)
{
    struct ah_task_state state;
    ah_task_get_state(task, &state);
    return state.ended;
}

static int wait_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct ah_task *task = check_task(L, 1);
    if (has_ended(task)) {
        return push_state(L, task);
    }
    double left = lua_tonumber(L, 2) - (double)ah_clock_now() / 1e9;
    if (left <= 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "the task has not ended in that time");
        lua_pushliteral(L, "TIMEOUT");
        return 3;
    }
    return ah_wait(L, ah_task_wake_id(task), left, 0, wait_again);
}

/* task:wait(timeout) -> status, details | nil, message, "TIMEOUT" */
static int task_wait(lua_State *L)
{
    check_task(L, 1);
    double timeout = luaL_optnumber(L, 2, HUGE_VAL);
    lua_settop(L, 1);
    lua_pushnumber(L, (double)ah_clock_now() / 1e9 + timeout); /* task deadline */
    return wait_again(L, LUA_OK, 0);
}

static int task_waitable(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)ah_task_wake_id(check_task(L, 1)));
    return 1;
}

/* ---- output ---- */

static void add_range(luaL_Buffer *out, int fd, off_t from, size_t len)
{
    while (len > 0) {
        size_t part = len < 65536 ? len : 65536;
        char *to = luaL_prepbuffsize(out, part);
        ssize_t n = pread(fd, to, part, from);
        if (n <= 0) {
            return;
        }
        luaL_addsize(out, (size_t)n);
        from += n;
        len -= (size_t)n;
    }
}

/* Puts the bytes from `since` on the stack: all, or the first `head` and last `tail` of them. */
static void push_output(lua_State *L, int fd, off_t since, off_t size, size_t head, size_t tail)
{
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    size_t total = size > since ? (size_t)(size - since) : 0;
    if (total <= head + tail) {
        add_range(&out, fd, since, total);
    } else {
        add_range(&out, fd, since, head);
        char line[96];
        snprintf(line, sizeof line, "\n[... %zu bytes left out ...]\n", total - head - tail);
        if (head > 0) {
            luaL_addstring(&out, line);
        }
        add_range(&out, fd, size - (off_t)tail, tail);
    }
    luaL_pushresult(&out);
}

/* A descriptor in a box, because reading into a Lua buffer may raise. */
static int fd_box_close(lua_State *L)
{
    int *fd = lua_touserdata(L, 1);
    ah_io_close(fd);
    return 0;
}

/* task:output{ since, head, tail } -> bytes, size */
static int task_output(lua_State *L)
{
    static const char *const known[] = {"since", "head", "tail", NULL};
    struct ah_task *task = check_task(L, 1);
    lua_settop(L, 2);
    ah_opt_check(L, 2, known);
    lua_Integer since = ah_opt_integer(L, 2, "since", 0, 0, LLONG_MAX);
    lua_Integer head = ah_opt_integer(L, 2, "head", -1, 0, INT_MAX);
    lua_Integer tail = ah_opt_integer(L, 2, "tail", -1, 0, INT_MAX);
    if (head < 0 && tail < 0) {
        head = OUTPUT_DEFAULT;
        tail = OUTPUT_DEFAULT;
    }
    int *fd = lua_newuserdatauv(L, sizeof *fd, 0);
    *fd = -1;
    luaL_setmetatable(L, TYPE ".fd");
    *fd = open(ah_task_output_path(task), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (*fd < 0 || fstat(*fd, &st) != 0) {
        lua_pushliteral(L, ""); /* it has not started yet */
        lua_pushinteger(L, 0);
        return 2;
    }
    push_output(L, *fd, (off_t)since, st.st_size, head > 0 ? (size_t)head : 0,
                tail > 0 ? (size_t)tail : 0);
    ah_io_close(fd);
    lua_pushinteger(L, (lua_Integer)st.st_size);
    return 2;
}

/* ---- telling ---- */

/* task:kill{ grace, by } -> whether it had not ended */
static int task_kill(lua_State *L)
{
    static const char *const known[] = {"grace", "by", NULL};
    struct ah_task *task = check_task(L, 1);
    lua_settop(L, 2);
    ah_opt_check(L, 2, known);
    double grace = ah_opt_seconds(L, 2, "grace", -1);
    const char *by = ah_opt_cstring(L, 2, "by", "a script");
    if (grace < 0) {
        grace = default_number(L, "grace");
    }
    lua_pushboolean(L, ah_task_kill(task, grace, by));
    return 1;
}

/* task:set_notify(flag) */
static int task_set_notify(lua_State *L)
{
    struct ah_task *task = check_task(L, 1);
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    ah_task_set_notify(task, lua_toboolean(L, 2));
    return 0;
}

/* task:acknowledge() -> whether no notice of its end will come any more */
static int task_acknowledge(lua_State *L)
{
    lua_pushboolean(L, ah_task_acknowledge(check_task(L, 1)));
    return 1;
}

/* ---- fields and the module ---- */

static int task_index(lua_State *L)
{
    struct ah_task *task = check_task(L, 1);
    const char *name = luaL_checkstring(L, 2);
    const char *value = NULL;
    if (strcmp(name, "id") == 0) {
        value = ah_task_id(task);
    } else if (strcmp(name, "command") == 0) {
        value = ah_task_command(task);
    } else if (strcmp(name, "label") == 0) {
        value = ah_task_label(task);
    } else if (strcmp(name, "cwd") == 0) {
        value = ah_task_cwd(task);
    } else if (strcmp(name, "output_path") == 0) {
        value = ah_task_output_path(task);
    } else {
        lua_getfield(L, lua_upvalueindex(1), name);
        return 1;
    }
    lua_pushstring(L, value); /* NULL becomes nil */
    return 1;
}

static int task_eq(lua_State *L)
{
    const struct handle *a = luaL_testudata(L, 1, TYPE);
    const struct handle *b = luaL_testudata(L, 2, TYPE);
    lua_pushboolean(L, a != NULL && b != NULL && a->task == b->task);
    return 1;
}

static int task_tostring(lua_State *L)
{
    struct ah_task *task = check_task(L, 1);
    lua_pushfstring(L, "task %s: %s", ah_task_id(task), ah_task_command(task));
    return 1;
}

/* task.get(id) -> task | nil */
static int task_get(lua_State *L)
{
    const char *id = luaL_checkstring(L, 1);
    struct handle *handle = push_handle(L);
    handle->task = ah_runner_find(ah_services_get(L)->runner, id);
    if (handle->task == NULL) {
        lua_pushnil(L);
    }
    return 1;
}

/* task.list() -> { task, ... }, oldest first */
static int task_list(lua_State *L)
{
    struct ah_task **tasks;
    size_t count;
    if (ah_runner_list(ah_services_get(L)->runner, &tasks, &count) < 0) {
        return luaL_error(L, "out of memory");
    }
    /* Handles first, so that nothing is lost should one of them not be had: the references are
     * moved into them one by one without anything that can raise. */
    lua_newtable(L);
    for (size_t i = 0; i < count; i++) {
        struct handle *handle = push_handle(L);
        handle->task = tasks[i];
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    free(tasks);
    return 1;
}

/* task.set_output_dir(path); task.set_max_running(count): for the host's own Lua */
static int task_set_output_dir(lua_State *L)
{
    const char *path = check_plain(L, 1, "path");
    if (ah_runner_set_output_dir(ah_services_get(L)->runner, path) < 0) {
        return luaL_error(L, "out of memory");
    }
    return 0;
}

static int task_set_max_running(lua_State *L)
{
    lua_Integer max = luaL_checkinteger(L, 1);
    luaL_argcheck(L, max >= 1 && max <= 4000, 1, "expected 1 to 4000");
    ah_runner_set_max_running(ah_services_get(L)->runner, (size_t)max);
    return 0;
}

int luaopen_agenthost_task(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"run", task_run},
        {"get", task_get},
        {"list", task_list},
        {"set_output_dir", task_set_output_dir},
        {"set_max_running", task_set_max_running},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"status", task_status},           {"wait", task_wait}, {"waitable", task_waitable},
        {"output", task_output},           {"kill", task_kill}, {"set_notify", task_set_notify},
        {"acknowledge", task_acknowledge}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", task_gc}, {"__eq", task_eq}, {"__tostring", task_tostring}, {NULL, NULL}};
    static const luaL_Reg fd_meta[] = {{"__gc", fd_box_close}, {NULL, NULL}};
    ah_handle_type(L, TYPE, NULL, meta);
    ah_handle_type(L, TYPE ".fd", NULL, fd_meta);
    luaL_getmetatable(L, TYPE);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, task_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
