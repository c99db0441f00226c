#include "vm.h"

#include "core/path.h"
#include "load.h"
#include "lua/guard.h"

#include <errno.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int luaopen_cjson(lua_State *L); /* lua-cjson.h declares no more than this */

/* ---- places ---- */

static char *join(const char *directory, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", directory, name) >= 0 ? path : NULL;
}

static int find_config(struct ah_places *places, struct ah_err *err)
{
    char *base;
    int rc = ah_path_xdg(AH_PATH_CONFIG, &base, err);
    if (rc < 0) {
        return rc;
    }
    places->config = join(base, "agenthost");
    free(base);
    return places->config != NULL ? 0 : ah_err_set(err, -ENOMEM, "out of memory");
}

/* The real path of `share` holds our Lua files? */
static bool use_share(struct ah_places *places, char *share)
{
    char *cli = share != NULL ? join(share, "lua/agenthost/cli.lua") : NULL;
    if (cli != NULL && access(cli, R_OK) == 0) {
        places->share = realpath(share, NULL);
    }
    free(cli);
    free(share);
    return places->share != NULL;
}

int ah_places_find(struct ah_places *ret_places, struct ah_err *err)
{
    *ret_places = (struct ah_places){0};
    int rc = find_config(ret_places, err);
    if (rc < 0) {
        return rc;
    }
    char *bin;
    rc = ah_path_executable_dir(&bin, err);
    if (rc < 0) {
        return rc;
    }
    /* The build tree uses the sources beside it; anywhere else the tree around us counts. */
    if (strcmp(bin, AH_BUILD_DIR) == 0) {
        ret_places->supervisor = join(bin, "agenthost-supervisor");
        use_share(ret_places, strdup(AH_SOURCE_DIR));
    } else {
        ret_places->supervisor = join(bin, "../libexec/agenthost/agenthost-supervisor");
        use_share(ret_places, join(bin, "../share/agenthost"));
    }
    if (ret_places->share == NULL || ret_places->supervisor == NULL) {
        rc = ah_err_set(err, -ENOENT,
                        "the Lua files are missing: looked for "
                        "../share/agenthost/lua/agenthost/cli.lua from %s",
                        bin);
    }
    free(bin);
    return rc;
}

void ah_places_clear(struct ah_places *places)
{
    free(places->share);
    free(places->config);
    free(places->supervisor);
    *places = (struct ah_places){0};
}

/* ---- the state ---- */

static const luaL_Reg c_modules[] = {
    {"agenthost.guard", luaopen_agenthost_guard},
    {"agenthost.http", luaopen_agenthost_http},
    {"agenthost.line", luaopen_agenthost_line},
    {"agenthost.markdown", luaopen_agenthost_markdown},
    {"agenthost.queue", luaopen_agenthost_queue},
    {"agenthost.reactor", luaopen_agenthost_reactor},
    {"agenthost.sys", luaopen_agenthost_sys},
    {"agenthost.task", luaopen_agenthost_task},
    {"agenthost.text", luaopen_agenthost_text},
    {"cjson", luaopen_cjson},
    {NULL, NULL},
};

/* Adds the entries of `path` that are absolute: a relative one would make what is loaded depend on
 * the directory in which somebody starts the program. */
static void add_absolute(luaL_Buffer *out, const char *path)
{
    while (*path != '\0') {
        size_t len = strcspn(path, ";");
        if (path[0] == '/') {
            luaL_addchar(out, ';');
            luaL_addlstring(out, path, len);
        }
        path += len + (path[len] == ';');
    }
}

/* package.path and cpath: the user's folder, ours, then Lua's own absolute ones. */
static void set_paths(lua_State *L, const struct ah_places *places)
{
    lua_getglobal(L, "package");
    int package = lua_gettop(L);
    lua_getfield(L, package, "path");
    lua_getfield(L, package, "cpath");
    const char *path = lua_tostring(L, package + 1);
    const char *cpath = lua_tostring(L, package + 2);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    const char *const roots[] = {places->config, places->share};
    for (size_t i = 0; i < 2; i++) {
        luaL_addstring(&out, i == 0 ? "" : ";");
        luaL_addstring(&out, roots[i]);
        luaL_addstring(&out, "/lua/?.lua;");
        luaL_addstring(&out, roots[i]);
        luaL_addstring(&out, "/lua/?/init.lua");
    }
    add_absolute(&out, path);
    luaL_pushresult(&out);
    lua_setfield(L, package, "path");
    luaL_buffinit(L, &out);
    add_absolute(&out, cpath);
    luaL_pushresult(&out);
    const char *joined = lua_tostring(L, -1);
    lua_pushstring(L, joined[0] == ';' ? joined + 1 : joined);
    lua_setfield(L, package, "cpath");
    lua_settop(L, package - 1);
}

/* require("agenthost.places"): { share, config, version } */
static void set_places(lua_State *L, const struct ah_places *places)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_newtable(L);
    lua_pushstring(L, places->share);
    lua_setfield(L, -2, "share");
    lua_pushstring(L, places->config);
    lua_setfield(L, -2, "config");
    lua_pushstring(L, AH_VERSION);
    lua_setfield(L, -2, "version");
    lua_setfield(L, -2, "agenthost.places");
    lua_pop(L, 1);
}

static int set_up(lua_State *L)
{
    struct ah_services *services = lua_touserdata(L, 1);
    const struct ah_places *places = lua_touserdata(L, 2);
    luaL_openlibs(L);
    ah_load_text_only(L);
    ah_guard_open(L);
    ah_services_set(L, services);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    luaL_setfuncs(L, c_modules, 0);
    lua_pop(L, 1);
    set_paths(L, places);
    set_places(L, places);
    return 0;
}

lua_State *ah_vm_new(struct ah_services *services, const struct ah_places *places)
{
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        return NULL;
    }
    if (ah_guard_attach(L) < 0) {
        lua_close(L);
        return NULL;
    }
    services->guard = *(const void **)lua_getextraspace(L);
    lua_pushcfunction(L, set_up);
    lua_pushlightuserdata(L, services);
    lua_pushlightuserdata(L, (void *)places);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        fprintf(stderr, "agenthost: %s\n", lua_tostring(L, -1));
        ah_guard_close(L);
        return NULL;
    }
    return L;
}

static int traceback(lua_State *L)
{
    const char *message = luaL_tolstring(L, 1, NULL);
    luaL_traceback(L, L, message, 1);
    return 1;
}

static int call_main(lua_State *L)
{
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "agenthost.cli");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_createtable(L, argc, 0);
    for (int i = 1; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    return 1;
}

int ah_vm_run(lua_State *L, int argc, char **argv)
{
    lua_settop(L, 0);
    lua_pushcfunction(L, traceback);
    lua_pushcfunction(L, call_main);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int code = 1;
    if (lua_pcall(L, 2, 1, 1) == LUA_OK) {
        code = lua_isinteger(L, -1) ? (int)lua_tointeger(L, -1) : 0;
    } else {
        fprintf(stderr, "agenthost: %s\n", lua_tostring(L, -1));
    }
    lua_settop(L, 0);
    return code;
}

void ah_vm_free(lua_State *L)
{
    ah_guard_close(L);
}
