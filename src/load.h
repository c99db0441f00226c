/*
 * Lua code is loaded as text only. Byte code can crash the host, and nobody can read what it does.
 */
#pragma once

#include <lua.h>

/* Makes load, loadfile, dofile and require refuse byte code. After luaL_openlibs. */
void ah_load_text_only(lua_State *L);
