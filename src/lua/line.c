/* agenthost.line: see lua/agenthost/_meta/line.lua for what Lua sees, core/editor.h for the work.
 */
#include "binding.h"
#include "box.h"

#include "core/editor.h"
#include "core/terminal.h"

#include <string.h>

#define TYPE "agenthost.line.editor"

struct handle {
    struct ah_editor *editor; /* NULL: closed */
    struct ah_buf lines;      /* finished, not yet given to Lua */
};

/* ---- arguments ---- */

static struct handle *check_handle(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, TYPE);
    if (handle->editor == NULL) {
        luaL_error(L, "the line editor is closed");
    }
    return handle;
}

static struct ah_editor *check_editor(lua_State *L)
{
    return check_handle(L)->editor;
}

/* A string without NUL: neither libedit nor a prompt can hold one. */
static const char *check_text(lua_State *L, int arg, size_t *ret_len)
{
    luaL_checktype(L, arg, LUA_TSTRING);
    const char *text = lua_tolstring(L, arg, ret_len);
    luaL_argcheck(L, strlen(text) == *ret_len, arg, "has a NUL byte in it");
    return text;
}

/* ---- the module ---- */

static int line_open(lua_State *L)
{
    static const char *const known[] = {"prompt", "history", "history_max", NULL};
    lua_settop(L, 1);
    ah_opt_check(L, 1, known);
    struct ah_editor_options options = {
        .prompt = ah_opt_cstring(L, 1, "prompt", "> "),
        .history = ah_opt_cstring(L, 1, "history", NULL),
        .history_max = (size_t)ah_opt_integer(L, 1, "history_max", 1000, 0, 100000),
    };
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    handle->editor = NULL;
    ah_buf_init(&handle->lines, 0);
    luaL_setmetatable(L, TYPE);
    struct ah_err err;
    if (ah_editor_new(&options, &handle->editor, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    return 1;
}

static int line_restore(lua_State *L)
{
    (void)L;
    ah_terminal_restore();
    return 0;
}

/* ---- an editor ---- */

static int editor_fd(lua_State *L)
{
    lua_pushinteger(L, ah_editor_fd(check_editor(L)));
    return 1;
}

static int editor_is_plain(lua_State *L)
{
    lua_pushboolean(L, ah_editor_is_plain(check_editor(L)));
    return 1;
}

static int editor_feed(lua_State *L)
{
    struct handle *handle = check_handle(L);
    struct ah_buf *lines = &handle->lines;
    bool ended = ah_editor_feed(handle->editor, lines);
    /* They are kept until all are in the table: running out of Lua's memory loses none. */
    lua_newtable(L);
    lua_Integer count = 0;
    for (size_t at = 0; at < lines->len;) {
        size_t len = strlen(lines->data + at);
        lua_pushlstring(L, lines->data + at, len);
        lua_rawseti(L, -2, ++count);
        at += len + 1;
    }
    ah_buf_clear(lines);
    lua_pushboolean(L, ended);
    lua_pushboolean(L, ah_editor_take_tab(handle->editor));
    return 3;
}

static int editor_take_escape(lua_State *L)
{
    lua_pushboolean(L, ah_editor_take_escape(check_editor(L)));
    return 1;
}

static int editor_hide(lua_State *L)
{
    ah_editor_set_shown(check_editor(L), false);
    return 0;
}

static int editor_show(lua_State *L)
{
    ah_editor_set_shown(check_editor(L), true);
    return 0;
}

static int editor_print(lua_State *L)
{
    struct ah_editor *ed = check_editor(L);
    size_t len;
    luaL_checktype(L, 2, LUA_TSTRING);
    const char *text = lua_tolstring(L, 2, &len);
    ah_editor_print(ed, text, len);
    return 0;
}

static int editor_set_prompt(lua_State *L)
{
    struct ah_editor *ed = check_editor(L);
    size_t len;
    const char *prompt = check_text(L, 2, &len);
    return ah_editor_set_prompt(ed, prompt) < 0 ? luaL_error(L, "not enough memory") : 0;
}

static int editor_text(lua_State *L)
{
    struct ah_editor *ed = check_editor(L);
    struct ah_buf *text = ah_box_new(L);
    if (ah_editor_text(ed, text) < 0) {
        return luaL_error(L, "not enough memory");
    }
    ah_box_push(L, text);
    return 1;
}

static int editor_discard(lua_State *L)
{
    struct ah_editor *ed = check_editor(L);
    struct ah_buf *text = ah_box_new(L);
    if (ah_editor_whole_text(ed, text) < 0) {
        return luaL_error(L, "not enough memory");
    }
    ah_box_push(L, text); /* first: it may raise */
    ah_editor_discard(ed);
    return 1;
}

static int editor_insert(lua_State *L)
{
    struct ah_editor *ed = check_editor(L);
    size_t len;
    const char *text = check_text(L, 2, &len);
    lua_pushboolean(L, ah_editor_insert(ed, text, len));
    return 1;
}

static int editor_add_history(lua_State *L)
{
    struct ah_editor *ed = check_editor(L);
    size_t len;
    struct ah_err err;
    const char *text = check_text(L, 2, &len);
    if (ah_editor_remember(ed, text, len, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int editor_resize(lua_State *L)
{
    ah_editor_resize(check_editor(L));
    return 0;
}

static int editor_suspend(lua_State *L)
{
    ah_editor_suspend(check_editor(L));
    return 0;
}

static int editor_resume(lua_State *L)
{
    ah_editor_resume(check_editor(L));
    return 0;
}

static int editor_close(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, TYPE);
    ah_editor_free(handle->editor);
    handle->editor = NULL;
    ah_buf_clear(&handle->lines);
    return 0;
}

int luaopen_agenthost_line(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"add_history", editor_add_history},
        {"close", editor_close},
        {"discard", editor_discard},
        {"fd", editor_fd},
        {"feed", editor_feed},
        {"hide", editor_hide},
        {"insert", editor_insert},
        {"is_plain", editor_is_plain},
        {"print", editor_print},
        {"resize", editor_resize},
        {"resume", editor_resume},
        {"set_prompt", editor_set_prompt},
        {"show", editor_show},
        {"suspend", editor_suspend},
        {"take_escape", editor_take_escape},
        {"text", editor_text},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__close", editor_close},
        {"__gc", editor_close},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"open", line_open},
        {"restore", line_restore},
        {NULL, NULL},
    };
    ah_handle_type(L, TYPE, methods, meta);
    luaL_newlib(L, functions);
    return 1;
}
