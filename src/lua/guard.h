/*
 * What keeps plugin code within bounds: the time it may go on without a wait, and the memory of the
 * Lua state. It is a seat belt and no cage: plugins are code that the user trusts, and one that
 * means harm can take the belt off (debug.sethook).
 *
 * A count hook looks at the clock every so many instructions. It is set on the coroutine that calls
 * plugin code, for as long as that runs; coroutines made meanwhile inherit it. When the time is
 * over the code gets an error; when it goes on all the same (`while true do pcall(f) end`) it gets,
 * after a grace, one at every instruction, until the call is over. What one C function does
 * meanwhile (string.rep, string.find) is not interrupted, nor is a finalizer (__gc); the memory
 * limit bounds what such a function makes.
 *
 * What it costs: tests/bench/guard/README.md.
 */
#pragma once

#include <lua.h>
#include <stdbool.h>

/* Puts a new state under a guard: its memory is counted from now on. Before any coroutine is made.
 * 0 or -ENOMEM. */
int ah_guard_attach(lua_State *L);

/* Puts versions that can be stopped in the place of some functions of Lua's: guarded.c. After its
 * libraries are there. */
void ah_guard_open(lua_State *L);

/* Whether plugin code runs. */
bool ah_guard_runs(lua_State *L);

/* Raises when the plugin code that runs should have ended long ago: its time and the grace are
 * over. */
void ah_guard_check(lua_State *L);

/* Closes the state and frees its guard. */
void ah_guard_close(lua_State *L);
