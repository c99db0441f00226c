/*
 * task.run: from a command and a table of options to an order for the runner.
 */
#include "task.h"

#include "binding.h"
#include "core/task.h"
#include "queue.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

struct ah_task_handle *ah_task_push_handle(lua_State *L)
{
    struct ah_task_handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    handle->task = NULL;
    luaL_setmetatable(L, AH_TASK_TYPE);
    return handle;
}

const char *ah_task_check_text(lua_State *L, int index, const char *what)
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

double ah_task_default(lua_State *L, const char *name)
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

/* The words of the command as a NULL-terminated array in a new userdata on the stack; *ret_shown is
 * what people are shown. A text is run by `shell` -c. */
static char **push_argv(lua_State *L, int index, const char *shell, const char **ret_shown)
{
    if (lua_type(L, index) == LUA_TSTRING) {
        const char **argv = lua_newuserdatauv(L, 4 * sizeof *argv, 0);
        argv[0] = shell;
        argv[1] = "-c";
        argv[2] = ah_task_check_text(L, index, "command");
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
        argv[i] = ah_task_check_text(L, -1, "command");
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
        const char *name = ah_task_check_text(L, -1, "option 'env': name");
        if (*name == '\0' || strchr(name, '=') != NULL) {
            luaL_error(L, "option 'env': '%s' is not a variable's name", name);
        }
        if (lua_isboolean(L, -2) && !lua_toboolean(L, -2)) {
            lua_pushstring(L, name);
        } else {
            const char *value =
                ah_task_check_text(L, -2, "option 'env': value (or false to unset)");
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

/* The option `lifetime`. */
static bool is_detached(lua_State *L, int index)
{
    const char *lifetime = ah_opt_string(L, index, "lifetime", "session", NULL);
    if (strcmp(lifetime, "session") != 0 && strcmp(lifetime, "detached") != 0) {
        luaL_error(L, "option 'lifetime': expected 'session' or 'detached', got '%s'", lifetime);
    }
    return strcmp(lifetime, "detached") == 0;
}

/* The option `limits`. */
static void read_limits(lua_State *L, int index, struct ah_task_options *options)
{
    static const char *const known[] = {"max_cpu", "max_files", "max_memory", "nice", NULL};
    lua_getfield(L, index, "limits");
    int limits = lua_gettop(L);
    ah_opt_check(L, limits, known);
    options->max_memory =
        (uint64_t)ah_opt_integer(L, limits, "max_memory", 0, 1024 * 1024, LLONG_MAX);
    options->max_cpu = (uint64_t)ah_opt_integer(L, limits, "max_cpu", 0, 1, INT_MAX);
    options->max_files = (uint64_t)ah_opt_integer(L, limits, "max_files", 0, 3, INT_MAX);
    options->nice = (int)ah_opt_integer(L, limits, "nice", 0, -20, 19);
    lua_pop(L, 1);
}

/* The options timeout, grace and max_output, with the user's defaults. */
static void read_bounds(lua_State *L, int index, struct ah_task_options *options)
{
    options->timeout = ah_opt_seconds(L, index, "timeout", -1);
    options->grace = ah_opt_seconds(L, index, "grace", -1);
    lua_Integer max_output = ah_opt_integer(L, index, "max_output", -1, 1, LLONG_MAX);
    if (options->timeout < 0) {
        options->timeout = ah_task_default(L, "timeout");
    }
    if (options->grace < 0) {
        options->grace = ah_task_default(L, "grace");
    }
    options->max_output =
        max_output > 0 ? (uint64_t)max_output : (uint64_t)ah_task_default(L, "max_output");
    if (options->timeout == 0) {
        luaL_error(L, "option 'timeout': expected seconds > 0, or math.huge for no limit");
    }
    options->timeout = isinf(options->timeout) ? 0 : options->timeout;
}

/* The option cwd, absolute; borrowed from `buffer` or the stack. */
static const char *push_cwd(lua_State *L, int index, char *buffer, size_t size)
{
    const char *directory = ah_opt_cstring(L, index, "cwd", NULL);
    if (directory != NULL && directory[0] == '/') {
        return directory;
    }
    if (getcwd(buffer, size) == NULL) {
        luaL_error(L, "the working directory is gone");
    }
    return directory == NULL ? buffer : lua_pushfstring(L, "%s/%s", buffer, directory);
}

/* task.run(command, options) -> task | nil, message, code */
int ah_lua_task_run(lua_State *L)
{
    static const char *const known[] = {"cwd",    "env",        "grace",   "label", "lifetime",
                                        "limits", "max_output", "notify",  "pty",   "queue",
                                        "shell",  "stdin",      "timeout", NULL};
    lua_settop(L, 2);
    ah_opt_check(L, 2, known);
    struct ah_task_options options = {0};
    options.label = ah_opt_cstring(L, 2, "label", NULL);
    options.detached = is_detached(L, 2);
    options.with_stdin = ah_opt_bool(L, 2, "stdin", false);
    options.pty = ah_opt_bool(L, 2, "pty", false);
    read_bounds(L, 2, &options);
    read_limits(L, 2, &options);
    if (lua_getfield(L, 2, "queue") != LUA_TNIL) {
        options.queue = ah_check_queue(L, lua_gettop(L));
    }
    options.notify = ah_opt_bool(L, 2, "notify", options.queue != NULL);
    char cwd[PATH_MAX];
    options.cwd = push_cwd(L, 2, cwd, sizeof cwd);
    const char *shell = ah_opt_cstring(L, 2, "shell", "/bin/sh");
    options.argv = push_argv(L, 1, shell, &options.command);
    options.env = push_env(L, 2);
    struct ah_task_handle *handle = ah_task_push_handle(L);
    struct ah_err err;
    if (ah_task_run(ah_services_get(L)->runner, &options, &handle->task, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    return 1;
}
