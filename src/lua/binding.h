/*
 * What every binding shares: the services of the host, option tables, errors, and waiting.
 *
 * A C module for Lua is one file: luaopen_agenthost_<name>. It checks arguments, holds handles and
 * calls the core; nothing else. Inside a function: read and check all arguments, create the result
 * userdata, call the core, push results. Lua errors are C longjmps: nothing that needs freeing may
 * be held by a C local while something may raise.
 */
#pragma once

#include "core/err.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct ah_reactor;
struct ah_runner;

/* Made by the host, outlives the Lua state. */
struct ah_services {
    struct ah_reactor *reactor;
    struct ah_runner *runner;
    const void *guard; /* of the state; os.exit(code, true) leaves it to the end of the process,
                          where LeakSanitizer finds it by this */
};

void ah_services_set(lua_State *L, struct ah_services *services);
struct ah_services *ah_services_get(lua_State *L);

int luaopen_agenthost_guard(lua_State *L);
int luaopen_agenthost_http(lua_State *L);
int luaopen_agenthost_line(lua_State *L);
int luaopen_agenthost_markdown(lua_State *L);
int luaopen_agenthost_queue(lua_State *L);
int luaopen_agenthost_reactor(lua_State *L);
int luaopen_agenthost_sys(lua_State *L);
int luaopen_agenthost_task(lua_State *L);
int luaopen_agenthost_text(lua_State *L);

/* ---- option tables ---- */

/* Checks that the value at `index` is a table (or absent: then it becomes an empty table, so that
 * the functions below work) and that it has only keys of `known` (NULL at the end). Raises, at the
 * caller's line: "unknown option 'time_out'; did you mean 'timeout'?". */
void ah_opt_check(lua_State *L, int index, const char *const *known);

/* Each reads one field, checks its type and raises "option 'x': expected a string, got a table".
 * Absent (nil) gives the default. */

/* Borrowed from the table: valid while the table holds it. *len may be NULL. A number is refused.
 */
const char *ah_opt_string(lua_State *L, int index, const char *name, const char *def, size_t *len);

/* Like ah_opt_string, and refuses a text with a NUL byte in it. */
const char *ah_opt_cstring(lua_State *L, int index, const char *name, const char *def);

/* Seconds, >= 0, may be math.huge; refuses NaN and negative ones. */
double ah_opt_seconds(lua_State *L, int index, const char *name, double def);

/* A whole number within [min, max]. */
lua_Integer ah_opt_integer(lua_State *L, int index, const char *name, lua_Integer def,
                           lua_Integer min, lua_Integer max);

bool ah_opt_bool(lua_State *L, int index, const char *name, bool def);

/* ---- errors and handles ---- */

/* Pushes nil, message and a short upper-case code ("ENOENT", or `code` when it is not NULL);
 * returns 3. */
int ah_push_failure(lua_State *L, const struct ah_err *err, const char *code);

/* Registers a handle type: `methods` become its __index, `meta` its metamethods (__gc, __close,
 * __len, __tostring, ...); both may be NULL. The metatable is locked ("__metatable" = name). */
void ah_handle_type(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

/* ---- waiting ---- */

/* Seconds on the clock by which async.lua waits: agenthost.sys.now, which a test may have replaced.
 * Deadlines of waits are on this clock; on another one a wait would begin again when its time is
 * over. */
double ah_wait_now(lua_State *L);

/* Waits until the waitable `id` (core/wake.h) has news or `timeout` seconds (may be HUGE_VAL) are
 * over, then calls k(L, status, ctx) with the stack as it was plus nothing. Inside async.run the
 * coroutine yields; outside, the reactor runs until then. k has to look at the object itself: the
 * news may be for somebody else, or the time may be over. Use as: return ah_wait(L, ..., k). */
int ah_wait(lua_State *L, uint64_t id, double timeout, lua_KContext ctx, lua_KFunction k);

/* The same for several ids at once: the list of them at stack index `ids`. */
int ah_wait_any(lua_State *L, int ids, double timeout, lua_KContext ctx, lua_KFunction k);
