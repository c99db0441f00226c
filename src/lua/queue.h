/* What the task binding needs of the queue binding. */
#pragma once

#include <lua.h>

struct ah_queue;

/* The queue at stack index `index`; raises when it is something else or closed. Borrowed. */
struct ah_queue *ah_check_queue(lua_State *L, int index);
