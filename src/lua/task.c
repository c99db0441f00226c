/*
 * agenthost.task: commands in the background.
 */
#include "core/task.h"

#include "binding.h"
#include "core/io.h"
#include "queue.h"
#include "task.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TYPE AH_TASK_TYPE
#define OUTPUT_DEFAULT (512 * 1024) /* bytes of head and of tail, unless asked for otherwise */

static struct ah_task *check_task(lua_State *L, int index)
{
    struct ah_task_handle *handle = luaL_checkudata(L, index, TYPE);
    luaL_argcheck(L, handle->task != NULL, index, "the task handle is closed");
    return handle->task;
}

static int task_gc(lua_State *L)
{
    struct ah_task_handle *handle = luaL_checkudata(L, 1, TYPE);
    ah_task_unref(handle->task);
    handle->task = NULL;
    return 0;
}

/* ---- asking ---- */

/* Pushes status and a table that says more. */
static int push_state(lua_State *L, struct ah_task *task)
{
    struct ah_task_state state;
    ah_task_get_state(task, &state);
    const char *status = ah_task_status_name(state.status);
    lua_pushstring(L, status);
    lua_createtable(L, 0, 11);
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
    lua_pushboolean(L, state.detached);
    lua_setfield(L, -2, "detached");
    lua_pushboolean(L, state.takes_input);
    lua_setfield(L, -2, "takes_input");
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
    double left = lua_tonumber(L, 2) - ah_wait_now(L);
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
    lua_pushnumber(L, ah_wait_now(L) + timeout); /* task deadline */
    return wait_again(L, LUA_OK, 0);
}

/* ---- waiting for the first of several ---- */

/* list deadline: pushes task, status, details of the first that has ended, or nothing. */
static int push_first_ended(lua_State *L)
{
    lua_Integer count = luaL_len(L, 1);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        struct ah_task *task = check_task(L, -1);
        if (has_ended(task)) {
            return 1 + push_state(L, task);
        }
        lua_pop(L, 1);
    }
    return 0;
}

static int wait_any_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 2);
    int pushed = push_first_ended(L);
    if (pushed > 0) {
        return pushed;
    }
    double left = lua_tonumber(L, 2) - ah_wait_now(L);
    if (left <= 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "none of the tasks has ended in that time");
        lua_pushliteral(L, "TIMEOUT");
        return 3;
    }
    lua_Integer count = luaL_len(L, 1);
    lua_createtable(L, (int)count, 0); /* list deadline ids */
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        lua_pushinteger(L, (lua_Integer)ah_task_wake_id(check_task(L, -1)));
        lua_rawseti(L, 3, i);
        lua_pop(L, 1);
    }
    return ah_wait_any(L, 3, left, 0, wait_any_again);
}

/* task.wait_any(list, timeout) -> task, status, details | nil, message, "TIMEOUT" */
static int task_wait_any(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argcheck(L, luaL_len(L, 1) > 0, 1, "the list is empty");
    double timeout = luaL_optnumber(L, 2, HUGE_VAL);
    lua_settop(L, 1);
    lua_pushnumber(L, ah_wait_now(L) + timeout);
    return wait_any_again(L, LUA_OK, 0);
}

static int task_waitable(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)ah_task_wake_id(check_task(L, 1)));
    return 1;
}

/* ---- input ---- */

static int write_more(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct ah_task *task = check_task(L, 1);
    size_t len;
    const char *bytes = lua_tolstring(L, 2, &len);
    bool end = lua_toboolean(L, 3);
    size_t done = (size_t)lua_tointeger(L, 5);
    size_t taken = 0;
    int rc = ah_task_write(task, bytes + done, len - done, end, &taken);
    done += taken;
    if (rc == 0 && done == len) {
        lua_pushboolean(L, true);
        return 1;
    }
    double left = lua_tonumber(L, 4) - ah_wait_now(L);
    struct ah_err err;
    if (rc == -EINVAL) {
        return luaL_error(L, "the task was started without stdin = true or pty = true");
    } else if (rc < 0) {
        ah_err_set(&err, rc, "the command has ended or does not read any more");
        return ah_push_failure(L, &err, NULL);
    } else if (left <= 0) {
        ah_err_set(&err, -ETIMEDOUT, "the command does not read: %zu of %zu bytes were taken", done,
                   len);
        return ah_push_failure(L, &err, "TIMEOUT");
    }
    lua_pushinteger(L, (lua_Integer)done);
    lua_replace(L, 5);
    return ah_wait(L, ah_task_wake_id(task), left, 0, write_more);
}

/* task:write(bytes, { close, timeout }) -> true | nil, message, code */
static int task_write(lua_State *L)
{
    static const char *const known[] = {"close", "timeout", NULL};
    check_task(L, 1);
    luaL_checktype(L, 2, LUA_TSTRING);
    lua_settop(L, 3);
    ah_opt_check(L, 3, known);
    bool end = ah_opt_bool(L, 3, "close", false);
    double timeout = ah_opt_seconds(L, 3, "timeout", 10);
    lua_settop(L, 2);
    lua_pushboolean(L, end);
    lua_pushnumber(L, ah_wait_now(L) + timeout);
    lua_pushinteger(L, 0); /* task bytes end deadline done */
    return write_more(L, LUA_OK, 0);
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

/* Pushes bytes and size of an output file, as the options at 2 say. */
static int push_output_file(lua_State *L, const char *path)
{
    static const char *const known[] = {"since", "head", "tail", NULL};
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
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
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

/* task:output{ since, head, tail } -> bytes, size */
static int task_output(lua_State *L)
{
    return push_output_file(L, ah_task_output_path(check_task(L, 1)));
}

/* task.read_output(path, { since, head, tail }) -> bytes, size */
static int task_read_output(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    return push_output_file(L, luaL_checkstring(L, 1));
}

/* ---- telling ---- */

/* The option `signal`: what comes before KILL. */
static int check_signal(lua_State *L, int index)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {
        {"TERM", SIGTERM}, {"INT", SIGINT}, {"HUP", SIGHUP}, {"QUIT", SIGQUIT}, {"KILL", SIGKILL}};
    const char *name = ah_opt_string(L, index, "signal", "TERM", NULL);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        if (strcmp(signals[i].name, name) == 0) {
            return signals[i].number;
        }
    }
    return luaL_error(L, "option 'signal': expected TERM, INT, HUP, QUIT or KILL, got '%s'", name);
}

/* task:kill{ signal, grace, by } -> whether it had not ended */
static int task_kill(lua_State *L)
{
    static const char *const known[] = {"by", "grace", "signal", NULL};
    struct ah_task *task = check_task(L, 1);
    lua_settop(L, 2);
    ah_opt_check(L, 2, known);
    double grace = ah_opt_seconds(L, 2, "grace", -1);
    const char *by = ah_opt_cstring(L, 2, "by", "a script");
    if (grace < 0) {
        grace = ah_task_default(L, "grace");
    }
    int signal = check_signal(L, 2);
    grace = signal == SIGKILL ? 0 : grace;
    lua_pushboolean(L, ah_task_kill_with(task, signal, grace, by));
    return 1;
}

/* task:set_queue(queue) -> moved */
static int task_set_queue(lua_State *L)
{
    struct ah_task *task = check_task(L, 1);
    lua_pushboolean(L, ah_task_set_queue(task, ah_check_queue(L, 2)));
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
    const struct ah_task_handle *a = luaL_testudata(L, 1, TYPE);
    const struct ah_task_handle *b = luaL_testudata(L, 2, TYPE);
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
    struct ah_task_handle *handle = ah_task_push_handle(L);
    handle->task = ah_runner_find(ah_services_get(L)->runner, id);
    if (handle->task == NULL) {
        lua_pushnil(L);
    }
    return 1;
}

/* The references of a list until they have moved into handles, which may raise. */
struct list_box {
    struct ah_task **tasks;
    size_t next;
    size_t count;
};

static int list_box_gc(lua_State *L)
{
    struct list_box *box = lua_touserdata(L, 1);
    while (box->next < box->count) {
        ah_task_unref(box->tasks[box->next++]);
    }
    free(box->tasks);
    box->tasks = NULL;
    return 0;
}

/* task.list() -> { task, ... }, oldest first */
static int task_list(lua_State *L)
{
    struct list_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct list_box){0};
    luaL_setmetatable(L, TYPE ".list");
    if (ah_runner_list(ah_services_get(L)->runner, &box->tasks, &box->count) < 0) {
        return luaL_error(L, "out of memory");
    }
    lua_createtable(L, (int)box->count, 0);
    while (box->next < box->count) {
        struct ah_task_handle *handle = ah_task_push_handle(L);
        handle->task = box->tasks[box->next++];
        lua_rawseti(L, -2, (lua_Integer)box->next);
    }
    return 1;
}

/* task.set_dir(path); task.set_max_running(count): for the host's own Lua */
static int task_set_dir(lua_State *L)
{
    const char *path = ah_task_check_text(L, 1, "path");
    if (ah_runner_set_dir(ah_services_get(L)->runner, path) < 0) {
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
        {"run", ah_lua_task_run},
        {"get", task_get},
        {"list", task_list},
        {"wait_any", task_wait_any},
        {"read_output", task_read_output},
        {"set_dir", task_set_dir},
        {"set_max_running", task_set_max_running},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"status", task_status},
        {"wait", task_wait},
        {"waitable", task_waitable},
        {"output", task_output},
        {"write", task_write},
        {"kill", task_kill},
        {"set_notify", task_set_notify},
        {"set_queue", task_set_queue},
        {"acknowledge", task_acknowledge},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", task_gc}, {"__eq", task_eq}, {"__tostring", task_tostring}, {NULL, NULL}};
    static const luaL_Reg list_meta[] = {{"__gc", list_box_gc}, {NULL, NULL}};
    static const luaL_Reg fd_meta[] = {{"__gc", fd_box_close}, {NULL, NULL}};
    ah_handle_type(L, TYPE, NULL, meta);
    ah_handle_type(L, TYPE ".fd", NULL, fd_meta);
    ah_handle_type(L, TYPE ".list", NULL, list_meta);
    luaL_getmetatable(L, TYPE);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, task_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
