#include "box.h"

#include "binding.h"

#define BOX "agenthost.box"

static int box_gc(lua_State *L)
{
    ah_buf_clear(lua_touserdata(L, 1));
    return 0;
}

struct ah_buf *ah_box_new(lua_State *L)
{
    struct ah_buf *box = lua_newuserdatauv(L, sizeof *box, 0);
    ah_buf_init(box, 0);
    if (luaL_getmetatable(L, BOX) == LUA_TNIL) {
        static const luaL_Reg meta[] = {{"__gc", box_gc}, {NULL, NULL}};
        lua_pop(L, 1);
        ah_handle_type(L, BOX, NULL, meta);
        luaL_getmetatable(L, BOX);
    }
    lua_setmetatable(L, -2);
    return box;
}

void ah_box_push(lua_State *L, struct ah_buf *box)
{
    lua_pushlstring(L, ah_buf_str(box), box->len);
    ah_buf_clear(box);
}
