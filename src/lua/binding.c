#include "binding.h"

#include "core/clock.h"

#include <limits.h>
#include <math.h>
#include <string.h>

static const char services_key = 0; /* its address is the registry key */

void ah_services_set(lua_State *L, struct ah_services *services)
{
    lua_pushlightuserdata(L, services);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &services_key);
}

struct ah_services *ah_services_get(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &services_key);
    struct ah_services *services = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return services;
}

/* ---- option tables ---- */

/* Edits (insert, delete, change) from a to b; good enough for names of up to 31 bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t len_a = strlen(a);
    size_t len_b = strlen(b);
    size_t row[32];
    if (len_a > 31 || len_b > 31) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= len_b; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= len_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = change < best ? change : best;
        }
    }
    return row[len_b];
}

static const char *closest(const char *name, const char *const *known)
{
    const char *best = NULL;
    size_t best_distance = 4;
    for (; *known != NULL; known++) {
        size_t distance = edit_distance(name, *known);
        if (distance < best_distance && distance < strlen(name)) {
            best_distance = distance;
            best = *known;
        }
    }
    return best;
}

static bool is_known(const char *name, const char *const *known)
{
    for (; *known != NULL; known++) {
        if (strcmp(name, *known) == 0) {
            return true;
        }
    }
    return false;
}

void ah_opt_check(lua_State *L, int index, const char *const *known)
{
    if (lua_isnoneornil(L, index)) {
        lua_settop(L, lua_gettop(L) < index ? index : lua_gettop(L));
        lua_newtable(L);
        lua_replace(L, index);
        return;
    }
    if (!lua_istable(L, index)) {
        luaL_error(L, "expected a table of options, got a %s", luaL_typename(L, index));
    }
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "options are named; got a value at [%s]", luaL_tolstring(L, -2, NULL));
        }
        const char *name = lua_tostring(L, -2);
        if (!is_known(name, known)) {
            const char *best = closest(name, known);
            if (best != NULL) {
                luaL_error(L, "unknown option '%s'; did you mean '%s'?", name, best);
            }
            luaL_error(L, "unknown option '%s'", name);
        }
        lua_pop(L, 1);
    }
}

/* Pushes the field; returns its type, LUA_TNIL when absent. */
static int get_field(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    return lua_rawget(L, index);
}

static void type_error(lua_State *L, const char *name, const char *expected)
{
    luaL_error(L, "option '%s': expected %s, got a %s", name, expected, luaL_typename(L, -1));
}

const char *ah_opt_string(lua_State *L, int index, const char *name, const char *def, size_t *len)
{
    int type = get_field(L, index, name);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        if (len != NULL) {
            *len = def != NULL ? strlen(def) : 0;
        }
        return def;
    }
    if (type != LUA_TSTRING) {
        type_error(L, name, "a string");
    }
    const char *text = lua_tolstring(L, -1, len);
    lua_pop(L, 1); /* the option table keeps it alive */
    return text;
}

const char *ah_opt_cstring(lua_State *L, int index, const char *name, const char *def)
{
    size_t len;
    const char *text = ah_opt_string(L, index, name, def, &len);
    if (text != NULL && strlen(text) != len) {
        luaL_error(L, "option '%s': contains a NUL byte", name);
    }
    return text;
}

double ah_opt_seconds(lua_State *L, int index, const char *name, double def)
{
    int type = get_field(L, index, name);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return def;
    }
    if (type != LUA_TNUMBER) {
        type_error(L, name, "a number of seconds");
    }
    double seconds = lua_tonumber(L, -1);
    if (isnan(seconds) || seconds < 0) {
        luaL_error(L, "option '%s': expected seconds >= 0, got %f", name, seconds);
    }
    lua_pop(L, 1);
    return seconds;
}

lua_Integer ah_opt_integer(lua_State *L, int index, const char *name, lua_Integer def,
                           lua_Integer min, lua_Integer max)
{
    int type = get_field(L, index, name);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return def;
    }
    int is_whole = 0;
    lua_Integer value = lua_tointegerx(L, -1, &is_whole);
    if (type != LUA_TNUMBER || !is_whole) {
        type_error(L, name, "a whole number");
    }
    if (value < min || value > max) {
        luaL_error(L, "option '%s': expected %I to %I, got %I", name, min, max, value);
    }
    lua_pop(L, 1);
    return value;
}

bool ah_opt_bool(lua_State *L, int index, const char *name, bool def)
{
    int type = get_field(L, index, name);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return def;
    }
    if (type != LUA_TBOOLEAN) {
        type_error(L, name, "true or false");
    }
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* ---- errors and handles ---- */

int ah_push_failure(lua_State *L, const struct ah_err *err, const char *code)
{
    if (code == NULL) {
        code = strerrorname_np(-err->code);
    }
    lua_pushnil(L);
    lua_pushstring(L, err->msg);
    lua_pushstring(L, code != NULL ? code : "EUNKNOWN");
    return 3;
}

void ah_handle_type(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta)
{
    luaL_newmetatable(L, name); /* meta */
    if (meta != NULL) {
        luaL_setfuncs(L, meta, 0);
    }
    lua_newtable(L); /* meta methods */
    if (methods != NULL) {
        luaL_setfuncs(L, methods, 0);
    }
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

/* ---- waiting ---- */

double ah_wait_now(lua_State *L)
{
    int top = lua_gettop(L);
    double now = (double)ah_clock_now() / 1e9;
    luaL_checkstack(L, 3, "waiting");
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, "agenthost.sys") == LUA_TTABLE &&
        lua_getfield(L, -1, "now") == LUA_TFUNCTION) {
        lua_call(L, 0, 1);
        now = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : now;
    }
    lua_settop(L, top);
    return now;
}

/* Pushes require("agenthost.async")[name]. */
static void push_async(lua_State *L, const char *name)
{
    luaL_checkstack(L, 4, "waiting");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "agenthost.async");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* Calls what was pushed with one argument and the timeout, then k. */
static int call_async(lua_State *L, double timeout, lua_KContext ctx, lua_KFunction k)
{
    if (isinf(timeout)) {
        lua_pushnil(L);
    } else {
        lua_pushnumber(L, timeout);
    }
    lua_callk(L, 2, 0, ctx, k);
    return k(L, LUA_OK, ctx);
}

int ah_wait(lua_State *L, uint64_t id, double timeout, lua_KContext ctx, lua_KFunction k)
{
    push_async(L, "wait");
    lua_pushinteger(L, (lua_Integer)id);
    return call_async(L, timeout, ctx, k);
}

int ah_wait_any(lua_State *L, int ids, double timeout, lua_KContext ctx, lua_KFunction k)
{
    push_async(L, "wait_any");
    lua_pushvalue(L, ids);
    return call_async(L, timeout, ctx, k);
}
