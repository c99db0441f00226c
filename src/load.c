#include "load.h"

#include <lauxlib.h>
#include <string.h>

/* load(chunk, name, mode, env) and loadfile(filename, mode, env): as Lua's, with the mode "t". */
static int load_text(lua_State *L)
{
    int mode = (int)lua_tointeger(L, lua_upvalueindex(2)); /* which argument it is */
    int given = lua_gettop(L);
    lua_settop(L, given < mode ? mode : given);
    lua_pushliteral(L, "t");
    lua_replace(L, mode);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int dofile_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L) - 1;
}

/* dofile(filename) */
static int dofile_text(lua_State *L)
{
    const char *path = luaL_optstring(L, 1, NULL);
    lua_settop(L, 1);
    if (luaL_loadfilex(L, path, "t") != LUA_OK) {
        return lua_error(L);
    }
    lua_callk(L, 0, LUA_MULTRET, 0, dofile_done);
    return dofile_done(L, LUA_OK, 0);
}

/* A searcher of require: the file on package.path, as a loader and its name. */
static int search_text(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchpath");
    lua_pushvalue(L, 1);
    lua_getfield(L, -3, "path");
    lua_call(L, 2, 2); /* path | nil, message */
    if (lua_isnil(L, -2)) {
        return 1;
    }
    lua_pop(L, 1);
    const char *path = lua_tostring(L, -1);
    if (luaL_loadfilex(L, path, "t") != LUA_OK) {
        return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", lua_tostring(L, 1),
                          path, lua_tostring(L, -1));
    }
    lua_insert(L, -2);
    return 2;
}

static void wrap_global(lua_State *L, const char *name, int mode)
{
    lua_getglobal(L, name);
    lua_pushinteger(L, mode);
    lua_pushcclosure(L, load_text, 2);
    lua_setglobal(L, name);
}

void ah_load_text_only(lua_State *L)
{
    wrap_global(L, "load", 3);
    wrap_global(L, "loadfile", 2);
    lua_register(L, "dofile", dofile_text);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    lua_pushcfunction(L, search_text);
    lua_rawseti(L, -2, 2); /* 1 is package.preload, 3 and 4 are C modules */
    lua_pop(L, 2);
}
