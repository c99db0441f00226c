/*
 * agenthost.queue: notification queues.
 */
#include "queue.h"

#include "binding.h"
#include "core/queue.h"
#include "core/reactor.h"
#include "core/task.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TYPE "agenthost.queue"
#define PUSH_MAX 100000 /* notices that may wait in one queue when Lua code pushes another */

struct handle {
    struct ah_queue *queue; /* NULL: closed */
};

/* Building a notice may raise half-way; this box frees what is there. */
#define BOX_TYPE "agenthost.notice"
struct box {
    struct ah_notice *notice;
};

struct ah_queue *ah_check_queue(lua_State *L, int index)
{
    struct handle *handle = luaL_checkudata(L, index, TYPE);
    if (handle->queue == NULL) {
        luaL_error(L, "the queue is closed");
    }
    return handle->queue;
}

/* queue.new() -> q */
static int queue_new(lua_State *L)
{
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    handle->queue = NULL;
    luaL_setmetatable(L, TYPE);
    int rc = ah_queue_new(ah_reactor_wake(ah_services_get(L)->reactor), &handle->queue);
    if (rc < 0) {
        return luaL_error(L, "cannot make a queue: %s", strerror(-rc));
    }
    return 1;
}

static int queue_close(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, TYPE);
    ah_queue_unref(handle->queue);
    handle->queue = NULL;
    return 0;
}

static int box_gc(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, BOX_TYPE);
    ah_notice_free(box->notice);
    box->notice = NULL;
    return 0;
}

/* Adds the value on top of the stack under `name`. */
static void add_field(lua_State *L, struct ah_notice *notice, const char *name)
{
    int rc = 0;
    size_t len;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, -1, &len);
        rc = ah_notice_add_text(notice, name, text, len);
        break;
    }
    case LUA_TNUMBER:
        rc = lua_isinteger(L, -1) ? ah_notice_add_integer(notice, name, lua_tointeger(L, -1))
                                  : ah_notice_add_number(notice, name, lua_tonumber(L, -1));
        break;
    case LUA_TBOOLEAN:
        rc = ah_notice_add_flag(notice, name, lua_toboolean(L, -1));
        break;
    default:
        luaL_error(L, "notice field '%s': expected a string, number or boolean, got a %s", name,
                   luaL_typename(L, -1));
    }
    if (rc < 0) {
        luaL_error(L, "notice field '%s': %s", name, strerror(-rc));
    }
}

/* q:push{ kind = "...", ... } -> seq | nil, message, "ENOSPC" */
static int queue_push(lua_State *L)
{
    struct ah_queue *queue = ah_check_queue(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_getfield(L, 2, "kind") != LUA_TSTRING) {
        return luaL_error(L, "a notice needs a field 'kind' that says what it is");
    }
    if (strcmp(lua_tostring(L, -1), "task") == 0) {
        return luaL_error(L, "notices of kind 'task' come from the task runner only");
    }
    lua_pop(L, 1);
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0); /* q tbl box */
    box->notice = NULL;
    luaL_setmetatable(L, BOX_TYPE);
    box->notice = ah_notice_new();
    if (box->notice == NULL) {
        return luaL_error(L, "out of memory");
    }
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) { /* q tbl box key value */
        if (lua_type(L, -2) != LUA_TSTRING) {
            return luaL_error(L, "the fields of a notice have names");
        }
        add_field(L, box->notice, lua_tostring(L, -2));
        lua_pop(L, 1);
    }
    if (ah_queue_count(queue) >= PUSH_MAX) {
        struct ah_err err;
        ah_err_set(&err, -ENOSPC, "the queue is full: %d notices wait", PUSH_MAX);
        return ah_push_failure(L, &err, NULL);
    }
    struct ah_notice *notice = box->notice;
    box->notice = NULL;
    lua_pushinteger(L, (lua_Integer)ah_queue_push(queue, notice));
    return 1;
}

static void push_notice(lua_State *L, const struct ah_notice *notice)
{
    lua_createtable(L, 0, (int)notice->count + 1);
    for (size_t i = 0; i < notice->count; i++) {
        const struct ah_field *field = &notice->fields[i];
        switch (field->type) {
        case AH_FIELD_TEXT:
            lua_pushlstring(L, field->as.text.data, field->as.text.len);
            break;
        case AH_FIELD_INTEGER:
            lua_pushinteger(L, field->as.integer);
            break;
        case AH_FIELD_NUMBER:
            lua_pushnumber(L, field->as.number);
            break;
        case AH_FIELD_FLAG:
            lua_pushboolean(L, field->as.flag);
            break;
        }
        lua_setfield(L, -2, field->name);
    }
    lua_pushinteger(L, (lua_Integer)notice->seq);
    lua_setfield(L, -2, "seq");
}

/* q:drain() -> { notice, ... }: each with its seq; they stay in flight until acknowledged */
static int queue_drain(lua_State *L)
{
    struct ah_queue *queue = ah_check_queue(L, 1);
    const struct ah_notice *notices[64];
    lua_newtable(L);
    lua_Integer count = 0;
    size_t n;
    while ((n = ah_queue_drain(queue, notices, 64)) > 0) {
        for (size_t i = 0; i < n; i++) {
            push_notice(L, notices[i]);
            lua_rawseti(L, -2, ++count);
        }
    }
    return 1;
}

/* q:in_flight() -> { notice, ... } */
static int queue_in_flight(lua_State *L)
{
    struct ah_queue *queue = ah_check_queue(L, 1);
    const struct ah_notice *notices[64];
    lua_newtable(L);
    lua_Integer count = 0;
    uint64_t after = 0;
    size_t n;
    while ((n = ah_queue_in_flight(queue, after, notices, 64)) > 0) {
        for (size_t i = 0; i < n; i++) {
            push_notice(L, notices[i]);
            lua_rawseti(L, -2, ++count);
        }
        after = notices[n - 1]->seq;
    }
    return 1;
}

/* Notes in the ledger that the end told by this notice is on disk; 0 or negative errno. */
static int note_delivered(lua_State *L, const struct ah_notice *notice)
{
    const char *kind = "";
    const char *id = "";
    for (size_t i = 0; i < notice->count; i++) {
        const struct ah_field *field = &notice->fields[i];
        if (field->type == AH_FIELD_TEXT && strcmp(field->name, "kind") == 0) {
            kind = field->as.text.data;
        } else if (field->type == AH_FIELD_TEXT && strcmp(field->name, "task") == 0) {
            id = field->as.text.data;
        }
    }
    if (strcmp(kind, "task") != 0) {
        return 0;
    }
    struct ah_task *task = ah_runner_find(ah_services_get(L)->runner, id);
    int rc = task != NULL ? ah_task_delivered(task) : 0;
    ah_task_unref(task);
    return rc;
}

/* q:ack(seq) -> how many | nil, message, code */
static int queue_ack(lua_State *L)
{
    struct ah_queue *queue = ah_check_queue(L, 1);
    lua_Integer seq = luaL_optinteger(L, 2, LUA_MAXINTEGER);
    struct ah_notice *notice = ah_queue_ack(queue, seq > 0 ? (uint64_t)seq : 0);
    lua_Integer count = 0;
    int rc = 0;
    while (notice != NULL) {
        struct ah_notice *next = notice->next;
        int noted = note_delivered(L, notice);
        rc = rc < 0 ? rc : noted;
        ah_notice_free(notice);
        notice = next;
        count++;
    }
    if (rc < 0) {
        struct ah_err err;
        ah_err_sys(&err, rc, "the ledger could not be written");
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushinteger(L, count);
    return 1;
}

/* q:withdraw(seq) -> whether it was pending */
static int queue_withdraw(lua_State *L)
{
    struct ah_queue *queue = ah_check_queue(L, 1);
    lua_Integer seq = luaL_checkinteger(L, 2);
    lua_pushboolean(L, seq > 0 && ah_queue_withdraw(queue, (uint64_t)seq));
    return 1;
}

/* q:requeue() -> how many */
static int queue_requeue(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)ah_queue_requeue(ah_check_queue(L, 1)));
    return 1;
}

static int wait_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct ah_queue *queue = ah_check_queue(L, 1);
    double left = lua_tonumber(L, 2) - ah_wait_now(L);
    bool pending = ah_queue_count(queue) > 0;
    if (pending || left <= 0) {
        lua_pushboolean(L, pending);
        return 1;
    }
    /* The news may be of a notice that has been drained already. */
    return ah_wait(L, ah_queue_id(queue), left, 0, wait_again);
}

/* q:wait(timeout) -> true when a notice is pending, false when the time is over */
static int queue_wait(lua_State *L)
{
    ah_check_queue(L, 1);
    double timeout = luaL_optnumber(L, 2, HUGE_VAL);
    lua_settop(L, 1);
    lua_pushnumber(L, ah_wait_now(L) + timeout); /* queue deadline */
    return wait_again(L, LUA_OK, 0);
}

/* q:waitable() -> the id for async.wait_any */
static int queue_waitable(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)ah_queue_id(ah_check_queue(L, 1)));
    return 1;
}

static int queue_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)ah_queue_count(ah_check_queue(L, 1)));
    return 1;
}

int luaopen_agenthost_queue(lua_State *L)
{
    static const luaL_Reg functions[] = {{"new", queue_new}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"push", queue_push},         {"drain", queue_drain},
        {"ack", queue_ack},           {"requeue", queue_requeue},
        {"wait", queue_wait},         {"waitable", queue_waitable},
        {"close", queue_close},       {"in_flight", queue_in_flight},
        {"withdraw", queue_withdraw}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", queue_close}, {"__close", queue_close}, {"__len", queue_len}, {NULL, NULL}};
    static const luaL_Reg box_meta[] = {{"__gc", box_gc}, {NULL, NULL}};
    ah_handle_type(L, TYPE, methods, meta);
    ah_handle_type(L, BOX_TYPE, NULL, box_meta);
    luaL_newlib(L, functions);
    return 1;
}
