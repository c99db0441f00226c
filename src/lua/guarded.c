/*
 * Functions of Lua's own in versions that keep plugin code within bounds (guard.h) where the hook
 * alone does not reach: handlers of xpcall, and coroutines that make coroutines.
 */
#include "guard.h"

#include <lauxlib.h>
#include <string.h>

/* The handler of an xpcall of plugin code, the upvalue. What runs inside of the hook has none: an
 * error of the hook's goes on as it is, for nobody could stop a handler that does not end. */
static int users_handler(lua_State *L)
{
    lua_Debug ar;
    lua_settop(L, 1);
    if (!lua_iscfunction(L, lua_upvalueindex(1)) && lua_getstack(L, 0, &ar) != 0 &&
        lua_getinfo(L, "n", &ar) != 0 && strcmp(ar.namewhat, "hook") == 0) {
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* Stack: true, handler, what came of it. */
static int finish_xpcall(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
    lua_replace(L, 2);
    return lua_gettop(L) - 1;
}

/* xpcall(fn, handler, ...): as Lua's */
static int users_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    int arguments = lua_gettop(L) - 2;
    if (ah_guard_runs(L)) {
        lua_pushvalue(L, 2);
        lua_pushcclosure(L, users_handler, 1);
        lua_replace(L, 2);
    }
    lua_pushvalue(L, 1);
    lua_insert(L, 3);
    int status = lua_pcallk(L, arguments, LUA_MULTRET, 2, 0, finish_xpcall);
    return finish_xpcall(L, status, 0);
}

/* create(fn), wrap(fn): Lua's, the upvalue. Each new coroutine could go on until its own hook is
 * called; when each of them makes others, that would not end. */
static int make_coroutine(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    ah_guard_check(L);
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

void ah_guard_open(lua_State *L)
{
    lua_pushcfunction(L, users_xpcall);
    lua_setglobal(L, "xpcall");
    lua_getglobal(L, "coroutine");
    const char *const makers[] = {"create", "wrap"};
    for (int i = 0; i < 2; i++) {
        lua_getfield(L, -1, makers[i]);
        lua_pushcclosure(L, make_coroutine, 1);
        lua_setfield(L, -2, makers[i]);
    }
    lua_pop(L, 1);
}
