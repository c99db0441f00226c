/*
 * A buffer of the core that cannot leak when Lua raises: it lives in a userdata.
 */
#pragma once

#include "core/buf.h"

#include <lua.h>

/* Pushes an empty buffer (no limit); it is freed with the userdata. Borrowed while that is on the
 * stack. */
struct ah_buf *ah_box_new(lua_State *L);

/* Pushes the bytes as a Lua string and frees them at once, not with the next collection. */
void ah_box_push(lua_State *L, struct ah_buf *box);
