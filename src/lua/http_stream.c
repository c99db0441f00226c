#include "http_stream.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define REST_MAX (1024 * 1024)

/* ---- making and closing ---- */

/* Keeps why it failed, for stream:error(), and what has to be kept. */
void ah_stream_shut(struct ah_stream *stream)
{
    const char *message;
    const char *code =
        stream->request != NULL ? ah_http_request_error(stream->request, &message) : NULL;
    if (code != NULL && stream->code == NULL) {
        stream->code = strncpy(stream->code_copy, code, sizeof stream->code_copy - 1);
        ah_err_set(&stream->err, -EIO, "%s", message);
    }
    if (stream->keep && stream->request != NULL) {
        ah_http_request_take_kept(stream->request, &stream->kept);
    }
    ah_http_request_free(stream->request);
    stream->request = NULL;
    stream->is_open = false;
    ah_buf_clear(&stream->chunk);
    ah_sse_clear(&stream->sse);
    ah_sse_join_clear(&stream->join);
    stream->used = 0;
}

struct ah_stream *ah_stream_new(lua_State *L, size_t max_event)
{
    struct ah_stream *stream = lua_newuserdatauv(L, sizeof *stream, 1);
    *stream = (struct ah_stream){.is_open = false};
    ah_buf_init(&stream->chunk, 0);
    ah_buf_init(&stream->kept, 0);
    ah_sse_init(&stream->sse, max_event);
    ah_sse_join_init(&stream->join, max_event < AH_SSE_JOIN_LIMIT ? max_event : 0);
    luaL_setmetatable(L, AH_HTTP_STREAM);
    return stream;
}

static struct ah_stream *check_open(lua_State *L)
{
    struct ah_stream *stream = luaL_checkudata(L, 1, AH_HTTP_STREAM);
    if (!stream->is_open) {
        luaL_error(L, "stream is closed");
    }
    return stream;
}

static struct ah_stream *check_open_for_bytes(lua_State *L)
{
    struct ah_stream *stream = check_open(L);
    if (stream->has_events) {
        luaL_error(L, "the stream gives events: read() and rest() cannot follow event()");
    }
    return stream;
}

/* ---- what came ---- */

/* Pushes a table of all headers; those that came more than once are joined. */
static void push_headers(lua_State *L, const struct ah_http_request *request)
{
    size_t cursor = 0;
    const char *name;
    const char *value;
    lua_newtable(L);
    while (ah_http_request_header(request, &cursor, &name, &value)) {
        if (lua_getfield(L, -1, name) == LUA_TSTRING) { /* headers old */
            lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), value);
        } else {
            lua_pushlstring(L, value, strlen(value));
        }
        lua_setfield(L, -3, name);
        lua_pop(L, 1);
    }
}

void ah_stream_push_answer(lua_State *L, const struct ah_http_request *request)
{
    const char *url = ah_http_request_url(request);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, ah_http_request_status(request));
    lua_setfield(L, -2, "status");
    push_headers(L, request);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, url, strlen(url));
    lua_setfield(L, -2, "url");
}

static int push_error(lua_State *L, const struct ah_stream *stream)
{
    struct ah_err err = stream->err;
    const char *code = stream->code;
    if (code == NULL) {
        const char *message;
        code = ah_http_request_error(stream->request, &message);
        ah_err_set(&err, -EIO, "%s", message);
    }
    return ah_push_failure(L, &err, code);
}

int ah_stream_push_end(lua_State *L, const struct ah_stream *stream)
{
    if (!stream->is_open) {
        struct ah_err err;
        ah_err_set(&err, -EIO, "the stream was closed while it was read");
        return ah_push_failure(L, &err, "CLOSED");
    }
    switch (ah_http_request_state(stream->request)) {
    case AH_HTTP_DONE:
        lua_pushnil(L);
        return 1;
    case AH_HTTP_FAILED:
        return push_error(L, stream);
    default:
        return -1;
    }
}

/* The last call is a tail call: outside of async.run the waits would else pile up on the C stack.
 * So nothing here may have its address taken. */
static int look_again(lua_State *L, int status, lua_KContext look)
{
    (void)status;
    int results = ((ah_stream_look *)look)(L);
    if (results >= 0) {
        return results;
    }
    const struct ah_stream *stream = lua_touserdata(L, 1);
    return ah_wait(L, stream->id, HUGE_VAL, look, look_again);
}

int ah_stream_wait(lua_State *L, ah_stream_look *look)
{
    return look_again(L, LUA_OK, (lua_KContext)look);
}

/* ---- stream: bytes ---- */

/* Makes sure that `chunk` has bytes that were not given out; false when none is there. */
static bool fill(struct ah_stream *stream)
{
    if (stream->used == stream->chunk.len) {
        stream->used = 0;
        ah_http_request_take(stream->request, &stream->chunk);
    }
    return stream->chunk.len > 0;
}

static int look_read(lua_State *L)
{
    struct ah_stream *stream = lua_touserdata(L, 1);
    if (!stream->is_open || !fill(stream)) {
        return ah_stream_push_end(L, stream);
    }
    lua_pushlstring(L, stream->chunk.data + stream->used, stream->chunk.len - stream->used);
    stream->used = stream->chunk.len;
    return 1;
}

/* stream:read() -> bytes | nil | nil, message, code */
static int stream_read(lua_State *L)
{
    check_open_for_bytes(L);
    lua_settop(L, 1);
    return ah_stream_wait(L, look_read);
}

/* Pushes up to `max` bytes of the chunk; returns how many. */
static size_t push_some(lua_State *L, struct ah_stream *stream, size_t max)
{
    size_t left = stream->chunk.len - stream->used;
    size_t some = left < max ? left : max;
    lua_pushlstring(L, ah_buf_str(&stream->chunk) + stream->used, some);
    stream->used += some;
    return some;
}

static int look_rest(lua_State *L)
{
    struct ah_stream *stream = lua_touserdata(L, 1);
    size_t max = (size_t)lua_tointeger(L, 2);
    if (!stream->is_open) {
        return ah_stream_push_end(L, stream);
    }
    size_t have = stream->chunk.len - stream->used + ah_http_request_unread(stream->request);
    if (have < max && ah_http_request_state(stream->request) != AH_HTTP_DONE) {
        return ah_stream_push_end(L, stream);
    }
    ah_http_request_want(stream->request, 1);
    size_t some = push_some(L, stream, max);
    if (some < max) {
        fill(stream);
        push_some(L, stream, max - some);
        lua_concat(L, 2);
    }
    return 1;
}

/* stream:rest(max) -> all that is left, cut at max | nil, message, code */
static int stream_rest(lua_State *L)
{
    struct ah_stream *stream = check_open_for_bytes(L);
    lua_Integer max = luaL_optinteger(L, 2, REST_MAX);
    luaL_argcheck(L, max > 0, 2, "expected a number of bytes");
    lua_settop(L, 1);
    lua_pushinteger(L, max);
    ah_http_request_want(stream->request, (size_t)max);
    return ah_stream_wait(L, look_rest);
}

/* ---- stream: events ---- */

static void push_event(lua_State *L, const struct ah_sse_event *event)
{
    lua_createtable(L, 0, 3);
    lua_pushlstring(L, event->name, event->name_len);
    lua_setfield(L, -2, "event");
    lua_pushlstring(L, event->data, event->data_len);
    lua_setfield(L, -2, "data");
    if (event->id_len > 0) {
        lua_pushlstring(L, event->id, event->id_len);
        lua_setfield(L, -2, "id");
    }
}

static int look_event(lua_State *L)
{
    struct ah_stream *stream = lua_touserdata(L, 1);
    struct ah_sse_event event;
    if (!stream->is_open) {
        return ah_stream_push_end(L, stream);
    }
    while (true) {
        int rc = ah_sse_join_next(&stream->join, &stream->sse, &event, &stream->err);
        if (rc < 0) {
            stream->code = rc == -EMSGSIZE ? "TOO_LARGE" : "NOMEM";
            return push_error(L, stream);
        }
        if (rc == 0 && fill(stream)) {
            ah_sse_feed(&stream->sse, stream->chunk.data + stream->used,
                        stream->chunk.len - stream->used);
            stream->used = stream->chunk.len; /* the bytes stay until sse has used them up */
            continue;
        }
        if (rc == 1 || ah_sse_join_flush(&stream->join, &event)) {
            push_event(L, &event);
            return 1;
        }
        return ah_stream_push_end(L, stream);
    }
}

/* Reads the options at 2, which hold from now on; without them nothing changes. */
static void read_join(lua_State *L, struct ah_stream *stream)
{
    static const char *const known[] = {"join", NULL};
    if (lua_isnoneornil(L, 2)) {
        return;
    }
    ah_opt_check(L, 2, known);
    ah_sse_join_drop_markers(&stream->join);
    int type = lua_getfield(L, 2, "join"); /* stream options ... markers */
    if (type != LUA_TNIL && type != LUA_TTABLE) {
        luaL_error(L, "option 'join': expected a list of strings, got a %s", luaL_typename(L, -1));
    }
    lua_Integer count = type == LUA_TNIL ? 0 : luaL_len(L, -1);
    for (lua_Integer i = 1; i <= count; i++) {
        size_t len = 0;
        const char *marker =
            lua_rawgeti(L, -1, i) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        int rc = marker != NULL ? ah_sse_join_add_marker(&stream->join, marker, len) : -EINVAL;
        if (rc == -EINVAL) {
            luaL_error(L,
                       "option 'join': expected texts of at most %d bytes that end with \", the "
                       "first quote of a JSON string",
                       AH_SSE_JOIN_MARKER_MAX);
        } else if (rc == -E2BIG) {
            luaL_error(L, "option 'join': at most %d markers", AH_SSE_JOIN_MARKERS);
        } else if (rc < 0) {
            luaL_error(L, "not enough memory");
        }
        lua_pop(L, 1);
    }
}

static int next_event(lua_State *L)
{
    struct ah_stream *stream = check_open(L);
    stream->has_events = true;
    lua_settop(L, 1);
    return ah_stream_wait(L, look_event);
}

/* stream:event{ join } -> { event, data, id } | nil | nil, message, code */
static int stream_event(lua_State *L)
{
    read_join(L, check_open(L));
    return next_event(L);
}

/* stream:events{ join } -> iterator for a generic for; it ends at the end and at a failure */
static int stream_events(lua_State *L)
{
    read_join(L, check_open(L));
    lua_pushcfunction(L, next_event);
    lua_pushvalue(L, 1);
    return 2;
}

/* ---- stream: the rest of it ---- */

/* stream:error() -> message, code; nothing when it has not failed */
static int stream_error(lua_State *L)
{
    const struct ah_stream *stream = luaL_checkudata(L, 1, AH_HTTP_STREAM);
    if (stream->code == NULL &&
        (stream->request == NULL || ah_http_request_error(stream->request, NULL) == NULL)) {
        return 0;
    }
    return push_error(L, stream) - 1; /* without the nil */
}

/* stream:kept() -> bytes */
static int stream_kept(lua_State *L)
{
    struct ah_stream *stream = luaL_checkudata(L, 1, AH_HTTP_STREAM);
    if (!stream->keep) {
        luaL_error(L, "the stream keeps nothing: open it with keep = true");
    }
    if (stream->request != NULL) {
        ah_http_request_take_kept(stream->request, &stream->kept);
    }
    lua_pushlstring(L, ah_buf_str(&stream->kept), stream->kept.len);
    ah_buf_clear(&stream->kept);
    return 1;
}

static int stream_close(lua_State *L)
{
    struct ah_stream *stream = luaL_checkudata(L, 1, AH_HTTP_STREAM);
    if (stream->is_open) {
        bool is_over = ah_http_request_state(stream->request) >= AH_HTTP_DONE;
        ah_stream_shut(stream);
        if (!is_over && stream->wake != NULL) {
            ah_wake_post(stream->wake, stream->id); /* another coroutine may wait for it */
        }
    }
    return 0;
}

static int stream_gc(lua_State *L)
{
    struct ah_stream *stream = luaL_checkudata(L, 1, AH_HTTP_STREAM);
    ah_stream_shut(stream);
    ah_buf_clear(&stream->kept);
    return 0;
}

/* Methods (upvalue), then fields. */
static int stream_index(lua_State *L)
{
    luaL_checkudata(L, 1, AH_HTTP_STREAM);
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL &&
        lua_getiuservalue(L, 1, 1) == LUA_TTABLE) {
        lua_pushvalue(L, 2);
        lua_rawget(L, -2);
    }
    return 1;
}

static int stream_tostring(lua_State *L)
{
    const struct ah_stream *stream = luaL_checkudata(L, 1, AH_HTTP_STREAM);
    lua_pushfstring(L, "%s (%s)", AH_HTTP_STREAM, stream->is_open ? "open" : "closed");
    return 1;
}

static const luaL_Reg stream_methods[] = {
    {"read", stream_read},   {"rest", stream_rest},
    {"event", stream_event}, {"events", stream_events},
    {"error", stream_error}, {"kept", stream_kept},
    {"close", stream_close}, {NULL, NULL},
};

static const luaL_Reg stream_meta[] = {
    {"__gc", stream_gc},
    {"__close", stream_close},
    {"__tostring", stream_tostring},
    {NULL, NULL},
};

void ah_stream_type(lua_State *L)
{
    ah_handle_type(L, AH_HTTP_STREAM, stream_methods, stream_meta);
    luaL_getmetatable(L, AH_HTTP_STREAM); /* meta */
    lua_getfield(L, -1, "__index");       /* meta methods */
    lua_pushcclosure(L, stream_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
