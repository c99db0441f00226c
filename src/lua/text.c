/* agenthost.text: see lua/agenthost/_meta/text.lua for what Lua sees, core/text.h for the work. */
#include "binding.h"
#include "box.h"

#include "core/json_string.h"
#include "core/text.h"

#include <errno.h>
#include <string.h>

#define FILTER "agenthost.text.Filter"

/* Only numbers of the host's own choosing and texts that fit into memory get here: what is left is
 * that there is no memory, which is an error for Lua. */
static void check_rc(lua_State *L, int rc)
{
    if (rc < 0) {
        luaL_error(L, "not enough memory");
    }
}

/* A real string: a number would be a mistake. */
static const char *check_text(lua_State *L, int arg, size_t *len)
{
    luaL_checktype(L, arg, LUA_TSTRING);
    return lua_tolstring(L, arg, len);
}

static int text_clean(lua_State *L)
{
    size_t len;
    const char *in = check_text(L, 1, &len);
    struct ah_text_info info;
    struct ah_buf *out = ah_box_new(L);
    check_rc(L, ah_text_clean(in, len, out, &info));
    ah_box_push(L, out);
    lua_createtable(L, 0, 3);
    lua_pushboolean(L, info.binary);
    lua_setfield(L, -2, "binary");
    lua_pushinteger(L, (lua_Integer)info.replaced);
    lua_setfield(L, -2, "replaced");
    lua_pushinteger(L, (lua_Integer)info.bytes);
    lua_setfield(L, -2, "bytes");
    return 2;
}

static double opt_share(lua_State *L, int index, const char *name, double def)
{
    lua_getfield(L, index, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return def;
    }
    double share = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(share >= 0 && share <= 1)) {
        luaL_error(L, "option '%s': expected a number from 0 to 1, got %s", name,
                   luaL_tolstring(L, -1, NULL));
    }
    lua_pop(L, 1);
    return share;
}

static int text_preview(lua_State *L)
{
    static const char *const known[] = {"max", "head", NULL};
    size_t len;
    const char *in = check_text(L, 1, &len);
    ah_opt_check(L, 2, known);
    lua_Integer max = ah_opt_integer(L, 2, "max", 50000, 0, LUA_MAXINTEGER);
    double share = opt_share(L, 2, "head", 0.5);
    struct ah_buf *out = ah_box_new(L);
    check_rc(L, ah_text_preview(in, len, (size_t)max, share, out));
    ah_box_push(L, out);
    return 1;
}

static int text_escape(lua_State *L)
{
    size_t len;
    const char *in = check_text(L, 1, &len);
    struct ah_buf *out = ah_box_new(L);
    check_rc(L, ah_text_escape_markup(in, len, out));
    ah_box_push(L, out);
    return 1;
}

static int text_width(lua_State *L)
{
    size_t len;
    const char *in = check_text(L, 1, &len);
    lua_pushinteger(L, (lua_Integer)ah_text_width(in, len));
    return 1;
}

/* ---- JSON strings ---- */

/* The byte at the place given as argument 2 has to be a quote; returns the one behind it. */
static const char *check_quote(lua_State *L, const char *json, size_t len)
{
    lua_Integer pos = luaL_checkinteger(L, 2);
    luaL_argcheck(L, pos >= 1 && (size_t)pos <= len && json[pos - 1] == '"', 2,
                  "expected the place of a quote");
    return json + pos;
}

static int text_quote(lua_State *L)
{
    size_t len;
    const char *in = check_text(L, 1, &len);
    struct ah_buf *out = ah_box_new(L);
    check_rc(L, ah_json_string_quote(in, len, out));
    ah_box_push(L, out);
    return 1;
}

static int text_quote_end(lua_State *L)
{
    size_t len;
    const char *json = check_text(L, 1, &len);
    const char *quote = ah_json_string_end(check_quote(L, json, len), json + len);
    if (quote == NULL) {
        return 0;
    }
    lua_pushinteger(L, quote - json + 1);
    return 1;
}

/* Pushes nil, the place and what is wrong there. */
static int push_wrong(lua_State *L, ptrdiff_t at, const char *what)
{
    lua_pushnil(L);
    lua_pushinteger(L, at + 1);
    lua_pushstring(L, what);
    return 3;
}

static int text_unquote(lua_State *L)
{
    size_t len;
    const char *json = check_text(L, 1, &len);
    const char *from = check_quote(L, json, len);
    const char *quote = ah_json_string_end(from, json + len);
    if (quote == NULL) {
        return push_wrong(L, from - json - 1, "string without an end");
    }
    size_t inside = (size_t)(quote - from);
    if (ah_json_string_plain(from, inside) == inside) {
        lua_pushlstring(L, from, inside);
    } else {
        size_t at = 0;
        bool is_control = false;
        struct ah_buf *out = ah_box_new(L);
        int rc = ah_json_string_decode(from, inside, out, &at, &is_control);
        if (rc == -EINVAL) {
            return push_wrong(L, from - json + (ptrdiff_t)at,
                              is_control ? "control character in a string"
                                         : "invalid escape in a string");
        }
        check_rc(L, rc);
        ah_box_push(L, out);
    }
    lua_pushinteger(L, quote - json + 2);
    return 2;
}

/* ---- the filter: its state is in the userdata, there is nothing to free ---- */

static int text_filter(lua_State *L)
{
    static const char *const known[] = {"cr", NULL};
    ah_opt_check(L, 1, known);
    const char *cr = ah_opt_string(L, 1, "cr", "drop", NULL);
    if (strcmp(cr, "drop") != 0 && strcmp(cr, "newline") != 0) {
        return luaL_error(L, "option 'cr': expected 'drop' or 'newline', got '%s'", cr);
    }
    enum ah_text_cr mode = cr[0] == 'd' ? AH_TEXT_CR_DROP : AH_TEXT_CR_NEWLINE;
    struct ah_text_filter *filter = lua_newuserdatauv(L, sizeof *filter, 0);
    ah_text_filter_init(filter, mode);
    luaL_setmetatable(L, FILTER);
    return 1;
}

static int filter_feed(lua_State *L)
{
    struct ah_text_filter *filter = luaL_checkudata(L, 1, FILTER);
    size_t len;
    const char *in = check_text(L, 2, &len);
    struct ah_buf *out = ah_box_new(L);
    check_rc(L, ah_text_filter_feed(filter, in, len, out));
    ah_box_push(L, out);
    return 1;
}

static int filter_finish(lua_State *L)
{
    struct ah_text_filter *filter = luaL_checkudata(L, 1, FILTER);
    struct ah_buf *out = ah_box_new(L);
    check_rc(L, ah_text_filter_finish(filter, out));
    ah_box_push(L, out);
    return 1;
}

int luaopen_agenthost_text(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"clean", text_clean},     {"escape", text_escape}, {"filter", text_filter},
        {"preview", text_preview}, {"quote", text_quote},   {"quote_end", text_quote_end},
        {"unquote", text_unquote}, {"width", text_width},   {NULL, NULL},
    };
    static const luaL_Reg filter_methods[] = {
        {"feed", filter_feed},
        {"finish", filter_finish},
        {NULL, NULL},
    };
    ah_handle_type(L, FILTER, filter_methods, NULL);
    luaL_newlib(L, functions);
    return 1;
}
