/*
 * agenthost.guard: bounds for plugin code. What it is for: guard.h.
 *
 * A *call* is one entry into plugin code, a userdata; the innermost that runs is `current`. Its
 * clock starts anew with each *stretch*: when the call begins, and after each wait. The scheduler
 * swaps `current` when it resumes a job (agenthost.async).
 */
#include "guard.h"

#include "binding.h"
#include "core/clock.h"
#include "core/signals.h"
#include "memory.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#define CALL "agenthost.guard.Call"

/* Between two looks at the clock. Fewer make plain Lua slower, more let a loop over slow C
 * functions run on for longer: tests/bench/guard/README.md. */
#define INSTRUCTIONS 1000

#define GRACE (INT64_C(500) * 1000 * 1000)         /* to clean up after the first error */
#define SIGNAL_BUDGET (INT64_C(500) * 1000 * 1000) /* when the user has pressed Ctrl-C */

struct call {
    int64_t budget;
    int64_t outer_since; /* what `since` and `stretch` were when it began */
    uint64_t stretch;
    lua_Hook hook; /* what was set on the coroutine */
    int mask, count;
};
enum { CALL_OUTER = 1, CALL_OWNER, CALL_VALUES = CALL_OWNER };

struct ah_guard {
    struct ah_memory memory;
    struct call *current; /* kept alive by the registry, at the guard's address */
    int64_t since;        /* when the stretch began */
    uint64_t stretch;
    bool told; /* the code has had one error in this stretch */
    int64_t told_at;
    bool muted;                 /* the handler of an error runs */
    const lua_State *scheduler; /* while it resumes a job: what it does itself is not the job's */
};

static struct ah_guard *guard_of(lua_State *L)
{
    /* Each coroutine has a copy of the main one's. */
    return *(struct ah_guard **)lua_getextraspace(L);
}

int ah_guard_attach(lua_State *L)
{
    struct ah_guard *guard = calloc(1, sizeof *guard);
    if (guard == NULL) {
        return -ENOMEM;
    }
    guard->memory.limit = SIZE_MAX;
    guard->memory.used = (size_t)lua_gc(L, LUA_GCCOUNT) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB);
    lua_setallocf(L, ah_memory_alloc, &guard->memory);
    *(struct ah_guard **)lua_getextraspace(L) = guard;
    return 0;
}

void ah_guard_close(lua_State *L)
{
    struct ah_guard *guard = guard_of(L);
    lua_close(L);
    free(guard);
}

/* ---- the hook ---- */

static void begin_stretch(struct ah_guard *guard)
{
    guard->since = ah_clock_now();
    guard->stretch++;
    guard->told = false;
}

static int64_t budget_of(const struct ah_guard *guard)
{
    int64_t budget = guard->current->budget;
    bool stop = ah_signals_waits(SIGINT) || ah_signals_waits(SIGTERM) || ah_signals_waits(SIGHUP);
    return stop && budget > SIGNAL_BUDGET ? SIGNAL_BUDGET : budget;
}

/* Raises that it was stopped, with the place at `level`. */
static int stop(lua_State *L, const struct ah_guard *guard, int level)
{
    int64_t tenths = (ah_clock_now() - guard->since) / 100000000;
    luaL_where(L, level);
    lua_pushfstring(L,
                    "%sit was stopped: it has run for %f s without a wait (the bound is "
                    "defaults.guard.seconds); let it do less at once, or wait in between "
                    "(async.sleep(0))",
                    lua_tostring(L, -1), (lua_Number)tenths / 10);
    return lua_error(L);
}

bool ah_guard_runs(lua_State *L)
{
    return guard_of(L)->current != NULL;
}

void ah_guard_check(lua_State *L)
{
    const struct ah_guard *guard = guard_of(L);
    if (guard->current != NULL && guard->told && ah_clock_now() - guard->told_at >= GRACE) {
        stop(L, guard, 1);
    }
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct ah_guard *guard = guard_of(L);
    if (guard->muted || L == guard->scheduler) {
        return;
    }
    int64_t now = guard->current != NULL ? ah_clock_now() : 0;
    if (guard->current == NULL || now - guard->since < budget_of(guard)) {
        if (lua_gethookcount(L) != INSTRUCTIONS) {
            lua_sethook(L, on_count, LUA_MASKCOUNT, INSTRUCTIONS); /* it has caught itself */
        }
        return;
    }
    if (guard->told) {
        if (now - guard->told_at < GRACE) {
            return;
        }
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    } else {
        guard->told = true;
        guard->told_at = now;
    }
    stop(L, guard, 0);
}

/* ---- calls ---- */

/* Makes the call (or nil) on top of the stack the current one, and pops it. */
static void set_current(lua_State *L, struct ah_guard *guard)
{
    guard->current = lua_touserdata(L, -1);
    guard->memory.strict = guard->current != NULL;
    lua_rawsetp(L, LUA_REGISTRYINDEX, guard);
}

static void enter(lua_State *L, struct ah_guard *guard, struct call *call)
{
    call->outer_since = guard->since;
    call->hook = lua_gethook(L);
    call->mask = lua_gethookmask(L);
    call->count = lua_gethookcount(L);
    begin_stretch(guard);
    call->stretch = guard->stretch;
    if (call->hook == NULL || call->hook == on_count) {
        lua_sethook(L, on_count, LUA_MASKCOUNT, INSTRUCTIONS);
    }
}

static void leave(lua_State *L, struct ah_guard *guard, const struct call *call)
{
    if (call->stretch == guard->stretch) {
        guard->since = call->outer_since; /* nobody has waited: the outer call's goes on */
    }
    guard->told = false;
    lua_sethook(L, call->hook, call->mask, call->hook == on_count ? INSTRUCTIONS : call->count);
}

/* Runs the handler without the hook: it may have to work when nothing else may. */
static int handle(lua_State *L)
{
    struct ah_guard *guard = guard_of(L);
    bool muted = guard->muted;
    guard->muted = true;
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_settop(L, 1); /* what went wrong in the handler is the error */
    }
    guard->muted = muted;
    return 1;
}

/* Stack: call, owner, handler, what came of it. */
static int finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct ah_guard *guard = guard_of(L);
    leave(L, guard, lua_touserdata(L, 1));
    lua_getiuservalue(L, 1, CALL_OUTER);
    set_current(L, guard);
    lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
    lua_replace(L, 3);
    return lua_gettop(L) - 2;
}

/* xpcall(seconds|call, owner, handler, fn, ...) -> true, results... | false, what the handler says
 */
static int guard_xpcall(lua_State *L)
{
    const struct call *like = luaL_testudata(L, 1, CALL);
    double seconds = like != NULL ? 0 : luaL_checknumber(L, 1);
    luaL_argcheck(L, like != NULL || seconds > 0, 1, "expected seconds, more than 0");
    luaL_checktype(L, 3, LUA_TFUNCTION);
    luaL_checkany(L, 4);
    int arguments = lua_gettop(L) - 4;
    struct ah_guard *guard = guard_of(L);
    struct call *call = lua_newuserdatauv(L, sizeof *call, CALL_VALUES);
    *call = (struct call){.budget = like ? like->budget : ah_clock_from_seconds(seconds)};
    luaL_setmetatable(L, CALL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, guard);
    lua_setiuservalue(L, -2, CALL_OUTER);
    if (guard->current != NULL && guard->current->budget < call->budget) {
        call->budget = guard->current->budget; /* no more than what it is called from */
    }
    if (like != NULL && lua_isnil(L, 2)) {
        lua_getiuservalue(L, 1, CALL_OWNER);
    } else {
        lua_pushvalue(L, 2);
    }
    lua_setiuservalue(L, -2, CALL_OWNER);
    lua_replace(L, 1);
    lua_pushvalue(L, 3);
    lua_pushcclosure(L, handle, 1);
    lua_replace(L, 3);
    lua_pushvalue(L, 1);
    enter(L, guard, call);
    set_current(L, guard);
    return finish(L, lua_pcallk(L, arguments, LUA_MULTRET, 3, 0, finish), 0);
}

/* current() -> call | nil */
static int guard_current(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, guard_of(L));
    return 1;
}

/* owner() -> what was given to xpcall | nil */
static int guard_owner(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, guard_of(L)) == LUA_TUSERDATA) {
        lua_getiuservalue(L, -1, CALL_OWNER);
    }
    return 1;
}

/* swap(call|nil, resumes) -> call | nil */
static int guard_swap(lua_State *L)
{
    struct ah_guard *guard = guard_of(L);
    luaL_argcheck(L, lua_isnoneornil(L, 1) || luaL_testudata(L, 1, CALL) != NULL, 1,
                  "expected a call or nil");
    guard->scheduler = lua_toboolean(L, 2) ? L : NULL;
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, guard);
    lua_insert(L, 1);
    set_current(L, guard);
    begin_stretch(guard);
    return 1;
}

/* restart() */
static int guard_restart(lua_State *L)
{
    begin_stretch(guard_of(L));
    return 0;
}

/* watch(on) */
static int guard_watch(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    lua_sethook(L, lua_toboolean(L, 1) ? on_count : NULL, LUA_MASKCOUNT, INSTRUCTIONS);
    return 0;
}

/* ---- memory ---- */

/* memory() -> used, limit | nil */
static int guard_memory(lua_State *L)
{
    const struct ah_memory *memory = &guard_of(L)->memory;
    lua_pushinteger(L, (lua_Integer)memory->used);
    if (memory->limit == SIZE_MAX) {
        lua_pushnil(L);
    } else {
        lua_pushinteger(L, (lua_Integer)memory->limit);
    }
    return 2;
}

/* limit_memory(bytes, reserve) */
static int guard_limit_memory(lua_State *L)
{
    lua_Integer limit = luaL_checkinteger(L, 1);
    lua_Integer reserve = luaL_checkinteger(L, 2);
    luaL_argcheck(L, limit > 0, 1, "expected bytes, more than 0");
    luaL_argcheck(L, reserve >= 0, 2, "expected bytes");
    struct ah_memory *memory = &guard_of(L)->memory;
    memory->limit = (size_t)limit;
    memory->reserve = (size_t)reserve;
    return 0;
}

/* starve(n, fn, ...) -> ok, results... | false, err */
static int guard_starve(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= 0, 1, "expected a number of allocations");
    luaL_checkany(L, 2);
    struct ah_memory *memory = &guard_of(L)->memory;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    memory->left = (size_t)n;
    memory->starving = true;
    int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    memory->starving = false;
    lua_pushboolean(L, status == LUA_OK);
    lua_replace(L, 1);
    return lua_gettop(L);
}

int luaopen_agenthost_guard(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"xpcall", guard_xpcall},   {"current", guard_current},
        {"owner", guard_owner},     {"swap", guard_swap},
        {"restart", guard_restart}, {"watch", guard_watch},
        {"memory", guard_memory},   {"limit_memory", guard_limit_memory},
        {"starve", guard_starve},   {NULL, NULL},
    };
    ah_handle_type(L, CALL, NULL, NULL);
    luaL_newlib(L, functions);
    return 1;
}
