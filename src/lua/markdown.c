/* agenthost.markdown: see lua/agenthost/_meta/markdown.lua for what Lua sees, core/markdown.h for
 * the work. */
#include "binding.h"
#include "box.h"

#include "core/markdown.h"

#include <limits.h>
#include <string.h>

#define MIN_PIECE 1024

static const char *check_text(lua_State *L, int arg, size_t *len)
{
    luaL_checktype(L, arg, LUA_TSTRING);
    return lua_tolstring(L, arg, len);
}

static size_t opt_piece(lua_State *L, int index)
{
    return (size_t)ah_opt_integer(L, index, "piece", AH_MARKDOWN_PIECE, MIN_PIECE,
                                  AH_MARKDOWN_PIECE_MAX);
}

static int markdown_render(lua_State *L)
{
    static const char *const known[] = {"width", "colour", "unfinished", "piece", NULL};
    size_t len;
    const char *text = check_text(L, 1, &len);
    ah_opt_check(L, 2, known);
    struct ah_markdown_options options = {
        .width = (size_t)ah_opt_integer(L, 2, "width", 80, 1, 10000),
        .colour = ah_opt_bool(L, 2, "colour", false),
        .unfinished = ah_opt_bool(L, 2, "unfinished", false),
        .piece = opt_piece(L, 2),
    };
    struct ah_buf *out = ah_box_new(L);
    if (ah_markdown_render(text, len, &options, out) < 0) {
        return luaL_error(L, "not enough memory");
    }
    ah_box_push(L, out);
    return 1;
}

static int markdown_cut(lua_State *L)
{
    static const char *const known[] = {"piece", NULL};
    size_t len;
    const char *text = check_text(L, 1, &len);
    ah_opt_check(L, 2, known);
    struct ah_markdown_cut cut;
    if (!ah_markdown_cut(text, len, opt_piece(L, 2), &cut)) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, (lua_Integer)cut.len);
    lua_pushboolean(L, cut.gap);
    lua_pushlstring(L, cut.carry, strlen(cut.carry));
    return 3;
}

int luaopen_agenthost_markdown(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"cut", markdown_cut},
        {"render", markdown_render},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
