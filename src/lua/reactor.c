/*
 * agenthost.reactor: the one wait. For agenthost.async; everybody else waits through that.
 */
#include "binding.h"

#include "core/clock.h"
#include "core/reactor.h"
#include "core/signals.h"

#include <math.h>
#include <signal.h>
#include <string.h>

#define MAX_IDS 256

static const struct {
    const char *name;
    int number;
} signal_names[] = {
    {"INT", SIGINT},     {"TERM", SIGTERM}, {"HUP", SIGHUP},   {"QUIT", SIGQUIT},
    {"WINCH", SIGWINCH}, {"TSTP", SIGTSTP}, {"CONT", SIGCONT},
};

/* wait(timeout: seconds|nil) -> { id, ... }, all */
static int reactor_wait(lua_State *L)
{
    double timeout = luaL_optnumber(L, 1, HUGE_VAL);
    int64_t deadline =
        isinf(timeout) ? AH_CLOCK_NEVER : ah_clock_now() + ah_clock_from_seconds(timeout);
    uint64_t ids[MAX_IDS];
    bool all;
    int n = ah_reactor_wait(ah_services_get(L)->reactor, deadline, ids, MAX_IDS, &all);
    if (n < 0) {
        return luaL_error(L, "the reactor cannot wait: %s", strerror(-n));
    }
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        lua_pushinteger(L, (lua_Integer)ids[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushboolean(L, all);
    return 2;
}

/* watch(fd) -> id | nil, message, code */
static int reactor_watch(lua_State *L)
{
    lua_Integer fd = luaL_checkinteger(L, 1);
    luaL_argcheck(L, fd >= 0 && fd <= INT32_MAX, 1, "not a descriptor");
    uint64_t id;
    struct ah_err err;
    if (ah_reactor_watch(ah_services_get(L)->reactor, (int)fd, &id, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

/* unwatch(id) */
static int reactor_unwatch(lua_State *L)
{
    ah_reactor_unwatch(ah_services_get(L)->reactor, (uint64_t)luaL_checkinteger(L, 1));
    return 0;
}

static int check_signal(lua_State *L, int index)
{
    const char *name = luaL_checkstring(L, index);
    for (size_t i = 0; i < sizeof signal_names / sizeof signal_names[0]; i++) {
        if (strcmp(signal_names[i].name, name) == 0) {
            return signal_names[i].number;
        }
    }
    return luaL_argerror(L, index, "expected INT, TERM, HUP, QUIT, WINCH, TSTP or CONT");
}

/* catch_signal(name, catch = true) */
static int reactor_catch_signal(lua_State *L)
{
    int signal = check_signal(L, 1);
    bool catch = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
    int rc = ah_signals_catch(signal, catch);
    if (rc < 0) {
        return luaL_error(L, "cannot catch the signal: %s", strerror(-rc));
    }
    return 0;
}

/* take_signal() -> name | nil */
static int reactor_take_signal(lua_State *L)
{
    int signal = ah_signals_take();
    for (size_t i = 0; i < sizeof signal_names / sizeof signal_names[0]; i++) {
        if (signal_names[i].number == signal) {
            lua_pushstring(L, signal_names[i].name);
            return 1;
        }
    }
    return 0;
}

static int reactor_signal_id(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)ah_reactor_signal_id(ah_services_get(L)->reactor));
    return 1;
}

int luaopen_agenthost_reactor(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"wait", reactor_wait},
        {"watch", reactor_watch},
        {"unwatch", reactor_unwatch},
        {"catch_signal", reactor_catch_signal},
        {"take_signal", reactor_take_signal},
        {"signal_id", reactor_signal_id},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
