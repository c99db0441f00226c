/*
 * agenthost.http: requests and streams.
 */
#include "binding.h"

#include "core/http.h"
#include "core/reactor.h"
#include "core/sse.h"
#include "core/wake.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define TYPE "agenthost.http.stream"
#define GUARD "agenthost.http.guard"

#define REQUEST_TIMEOUT 600.0
#define REQUEST_MAX_BODY (64 * 1024 * 1024)
#define REST_MAX (1024 * 1024)

/* One request. Its uservalue is a table with what scripts read as fields: status, headers, url. */
struct stream {
    bool is_open;
    struct ah_http_request *request; /* NULL unless open */
    struct ah_wake *wake;
    uint64_t id;
    struct ah_buf chunk; /* bytes taken from the request, given to Lua up to `used` */
    size_t used;
    struct ah_sse sse;
    bool has_events;  /* sse borrows from chunk, which only stream_event may change from now on */
    const char *code; /* of a failure noted here; NULL: see the request */
    struct ah_err err;
};

/* Closes a stream when the function that makes it is left by an error. */
struct guard {
    struct stream *stream; /* NULL: nothing to close */
};

/* ---- options ---- */

static const char *const known_options[] = {
    "url",         "method",          "headers",       "body",
    "timeout",     "connect_timeout", "stall_timeout", "max_body",
    "max_headers", "ca_file",         "redirects",     "max_event",
    NULL,
};

/* Leaves the headers' table and a box with the array on the stack, which hold what it points to. */
static void read_headers(lua_State *L, struct ah_http_options *options)
{
    lua_pushliteral(L, "headers");
    int type = lua_rawget(L, 1); /* headers */
    if (type == LUA_TNIL) {
        return;
    }
    if (type != LUA_TTABLE) {
        luaL_error(L, "option 'headers': expected a table of names and values, got a %s",
                   luaL_typename(L, -1));
    }
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "option 'headers': names are strings, got a %s", luaL_typename(L, -2));
        }
        if (lua_type(L, -1) != LUA_TSTRING) {
            luaL_error(L, "header '%s': expected a string, got a %s", lua_tostring(L, -2),
                       luaL_typename(L, -1));
        }
        count++;
    }
    struct ah_http_header *headers =
        lua_newuserdatauv(L, count * sizeof *headers + 1, 0); /* headers box */
    size_t i = 0;
    lua_pushnil(L);
    while (i < count && lua_next(L, -3) != 0) { /* headers box name value */
        struct ah_http_header *header = &headers[i++];
        *header = (struct ah_http_header){0};
        header->name = lua_tolstring(L, -2, &header->name_len);
        header->value = lua_tolstring(L, -1, &header->value_len);
        lua_pop(L, 1);
    }
    options->headers = headers;
    options->header_count = i;
}

/* Reads the table at 1. Returns the limit of an event. */
static size_t read_options(lua_State *L, struct ah_http_options *options, double timeout,
                           lua_Integer max_body)
{
    ah_opt_check(L, 1, known_options);
    ah_http_options_init(options);
    options->url = ah_opt_cstring(L, 1, "url", NULL);
    if (options->url == NULL) {
        luaL_error(L, "option 'url' is missing");
    }
    options->method = ah_opt_cstring(L, 1, "method", NULL);
    options->body = ah_opt_string(L, 1, "body", NULL, &options->body_len);
    options->timeout = ah_opt_seconds(L, 1, "timeout", timeout);
    options->connect_timeout = ah_opt_seconds(L, 1, "connect_timeout", options->connect_timeout);
    options->stall_timeout = ah_opt_seconds(L, 1, "stall_timeout", options->stall_timeout);
    options->max_body = (size_t)ah_opt_integer(L, 1, "max_body", max_body, 0, LUA_MAXINTEGER);
    options->max_headers = (size_t)ah_opt_integer(
        L, 1, "max_headers", (lua_Integer)options->max_headers, 1, 16 * 1024 * 1024);
    options->ca_file = ah_opt_cstring(L, 1, "ca_file", NULL);
    options->redirects = (int)ah_opt_integer(L, 1, "redirects", -1, -1, 20);
    read_headers(L, options);
    return (size_t)ah_opt_integer(L, 1, "max_event", AH_SSE_LIMIT, 1, 1024 * 1024 * 1024);
}

/* ---- making and closing ---- */

/* Keeps why it failed, for stream:error(). */
static void shut(struct stream *stream)
{
    const char *message;
    const char *code =
        stream->request != NULL ? ah_http_request_error(stream->request, &message) : NULL;
    if (code != NULL && stream->code == NULL) {
        stream->code = code;
        ah_err_set(&stream->err, -EIO, "%s", message);
    }
    ah_http_request_free(stream->request);
    stream->request = NULL;
    stream->is_open = false;
    ah_buf_clear(&stream->chunk);
    ah_sse_clear(&stream->sse);
    stream->used = 0;
}

/* Pushes a closed stream. */
static struct stream *new_stream(lua_State *L, size_t max_event)
{
    struct stream *stream = lua_newuserdatauv(L, sizeof *stream, 1);
    *stream = (struct stream){.is_open = false};
    ah_buf_init(&stream->chunk, 0);
    ah_sse_init(&stream->sse, max_event);
    luaL_setmetatable(L, TYPE);
    return stream;
}

/* Opens it: 0, or the number of pushed results of a failure. */
static int open_stream(lua_State *L, struct stream *stream, const struct ah_http_options *options)
{
    struct ah_reactor *reactor = ah_services_get(L)->reactor;
    struct ah_http *http;
    struct ah_err err;
    int rc = ah_reactor_http(reactor, &http, &err);
    if (rc == 0) {
        stream->wake = ah_reactor_wake(reactor);
        stream->id = ah_wake_new_id(stream->wake);
        rc = ah_http_start(http, stream->id, options, &stream->request, &err);
    }
    if (rc < 0) {
        return ah_push_failure(L, &err, rc == -ENOMEM ? "NOMEM" : NULL);
    }
    stream->is_open = true;
    return 0;
}

static struct stream *check_open(lua_State *L)
{
    struct stream *stream = luaL_checkudata(L, 1, TYPE);
    if (!stream->is_open) {
        luaL_error(L, "stream is closed");
    }
    return stream;
}

static struct stream *check_open_for_bytes(lua_State *L)
{
    struct stream *stream = check_open(L);
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

/* Pushes a new table with status, headers and url. */
static void push_answer(lua_State *L, const struct ah_http_request *request)
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

static int push_error(lua_State *L, const struct stream *stream)
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

/* What a function gives that finds nothing to give: nil at the end, nil, message, code after a
 * failure or when the stream was closed meanwhile, or -1: wait. */
static int push_end(lua_State *L, const struct stream *stream)
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

/* Looks at the stream at 1: pushes results and returns their number, or -1 to wait for news. */
typedef int look_function(lua_State *L);

/* The last call is a tail call: outside of async.run the waits would else pile up on the C stack.
 * So nothing here may have its address taken. */
static int look_again(lua_State *L, int status, lua_KContext look)
{
    (void)status;
    int results = ((look_function *)look)(L);
    if (results >= 0) {
        return results;
    }
    const struct stream *stream = lua_touserdata(L, 1);
    return ah_wait(L, stream->id, HUGE_VAL, look, look_again);
}

static int wait_until(lua_State *L, look_function *look)
{
    return look_again(L, LUA_OK, (lua_KContext)look);
}

/* ---- http.request ---- */

/* http.request{...} -> { status, headers, body, url } | nil, message, code */
static int look_request(lua_State *L)
{
    struct stream *stream = lua_touserdata(L, 1);
    if (ah_http_request_state(stream->request) != AH_HTTP_DONE) {
        return push_end(L, stream);
    }
    push_answer(L, stream->request);
    ah_http_request_take(stream->request, &stream->chunk);
    lua_pushlstring(L, ah_buf_str(&stream->chunk), stream->chunk.len);
    lua_setfield(L, -2, "body");
    return 1;
}

static int begin_request(lua_State *L)
{
    struct ah_http_options options;
    size_t max_event = read_options(L, &options, REQUEST_TIMEOUT, REQUEST_MAX_BODY);
    struct stream *stream = new_stream(L, max_event);
    int failure = open_stream(L, stream, &options);
    if (failure > 0) {
        return failure;
    }
    ah_http_request_want(stream->request, SIZE_MAX);
    lua_replace(L, 1);
    lua_settop(L, 1);
    return 0;
}

static int http_request(lua_State *L)
{
    int failure = begin_request(L);
    if (failure > 0) {
        return failure;
    }
    lua_toclose(L, 1);
    return wait_until(L, look_request);
}

/* ---- http.stream ---- */

/* stack: stream guard */
static int look_stream(lua_State *L)
{
    struct stream *stream = lua_touserdata(L, 1);
    struct guard *guard = lua_touserdata(L, 2);
    if (ah_http_request_status(stream->request) == 0) {
        return push_end(L, stream);
    }
    push_answer(L, stream->request);
    lua_setiuservalue(L, 1, 1);
    guard->stream = NULL;
    lua_pushvalue(L, 1);
    return 1;
}

static int begin_stream(lua_State *L)
{
    struct ah_http_options options;
    size_t max_event = read_options(L, &options, HUGE_VAL, 0);
    struct stream *stream = new_stream(L, max_event);
    int stream_at = lua_gettop(L);
    struct guard *guard = lua_newuserdatauv(L, sizeof *guard, 0);
    guard->stream = stream;
    luaL_setmetatable(L, GUARD);
    int failure = open_stream(L, stream, &options);
    if (failure > 0) {
        return failure;
    }
    lua_copy(L, stream_at, 1); /* stream ... stream guard */
    lua_copy(L, stream_at + 1, 2);
    lua_settop(L, 2);
    return 0;
}

/* http.stream{...} -> stream | nil, message, code */
static int http_stream(lua_State *L)
{
    int failure = begin_stream(L);
    if (failure > 0) {
        return failure;
    }
    lua_toclose(L, 2);
    return wait_until(L, look_stream);
}

static int guard_close(lua_State *L)
{
    struct guard *guard = luaL_checkudata(L, 1, GUARD);
    if (guard->stream != NULL) {
        shut(guard->stream);
        guard->stream = NULL;
    }
    return 0;
}

/* ---- stream: bytes ---- */

/* Makes sure that `chunk` has bytes that were not given out; false when none is there. */
static bool fill(struct stream *stream)
{
    if (stream->used == stream->chunk.len) {
        stream->used = 0;
        ah_http_request_take(stream->request, &stream->chunk);
    }
    return stream->chunk.len > 0;
}

static int look_read(lua_State *L)
{
    struct stream *stream = lua_touserdata(L, 1);
    if (!stream->is_open || !fill(stream)) {
        return push_end(L, stream);
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
    return wait_until(L, look_read);
}

/* Pushes up to `max` bytes of the chunk; returns how many. */
static size_t push_some(lua_State *L, struct stream *stream, size_t max)
{
    size_t left = stream->chunk.len - stream->used;
    size_t some = left < max ? left : max;
    lua_pushlstring(L, ah_buf_str(&stream->chunk) + stream->used, some);
    stream->used += some;
    return some;
}

static int look_rest(lua_State *L)
{
    struct stream *stream = lua_touserdata(L, 1);
    size_t max = (size_t)lua_tointeger(L, 2);
    if (!stream->is_open) {
        return push_end(L, stream);
    }
    size_t have = stream->chunk.len - stream->used + ah_http_request_unread(stream->request);
    if (have < max && ah_http_request_state(stream->request) != AH_HTTP_DONE) {
        return push_end(L, stream);
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
    struct stream *stream = check_open_for_bytes(L);
    lua_Integer max = luaL_optinteger(L, 2, REST_MAX);
    luaL_argcheck(L, max > 0, 2, "expected a number of bytes");
    lua_settop(L, 1);
    lua_pushinteger(L, max);
    ah_http_request_want(stream->request, (size_t)max);
    return wait_until(L, look_rest);
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
    struct stream *stream = lua_touserdata(L, 1);
    struct ah_sse_event event;
    if (!stream->is_open) {
        return push_end(L, stream);
    }
    while (true) {
        int rc = ah_sse_next(&stream->sse, &event, &stream->err);
        if (rc == 1) {
            push_event(L, &event);
            return 1;
        }
        if (rc < 0) {
            stream->code = rc == -EMSGSIZE ? "TOO_LARGE" : "NOMEM";
            return push_error(L, stream);
        }
        if (!fill(stream)) {
            return push_end(L, stream);
        }
        ah_sse_feed(&stream->sse, stream->chunk.data + stream->used,
                    stream->chunk.len - stream->used);
        stream->used = stream->chunk.len; /* the bytes stay until sse has used them up */
    }
}

/* stream:event() -> { event, data, id } | nil | nil, message, code */
static int stream_event(lua_State *L)
{
    struct stream *stream = check_open(L);
    stream->has_events = true;
    lua_settop(L, 1);
    return wait_until(L, look_event);
}

/* stream:events() -> iterator for a generic for; it ends at the end and at a failure */
static int stream_events(lua_State *L)
{
    check_open(L);
    lua_pushcfunction(L, stream_event);
    lua_pushvalue(L, 1);
    return 2;
}

/* ---- stream: the rest of it ---- */

/* stream:error() -> message, code; nothing when it has not failed */
static int stream_error(lua_State *L)
{
    const struct stream *stream = luaL_checkudata(L, 1, TYPE);
    if (stream->code == NULL &&
        (stream->request == NULL || ah_http_request_error(stream->request, NULL) == NULL)) {
        return 0;
    }
    return push_error(L, stream) - 1; /* without the nil */
}

static int stream_close(lua_State *L)
{
    struct stream *stream = luaL_checkudata(L, 1, TYPE);
    if (stream->is_open) {
        bool is_over = ah_http_request_state(stream->request) >= AH_HTTP_DONE;
        shut(stream);
        if (!is_over) {
            ah_wake_post(stream->wake, stream->id); /* another coroutine may wait for it */
        }
    }
    return 0;
}

static int stream_gc(lua_State *L)
{
    shut(luaL_checkudata(L, 1, TYPE));
    return 0;
}

/* Methods (upvalue), then fields. */
static int stream_index(lua_State *L)
{
    luaL_checkudata(L, 1, TYPE);
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
    const struct stream *stream = luaL_checkudata(L, 1, TYPE);
    lua_pushfstring(L, "%s (%s)", TYPE, stream->is_open ? "open" : "closed");
    return 1;
}

static const luaL_Reg stream_methods[] = {
    {"read", stream_read},
    {"rest", stream_rest},
    {"event", stream_event},
    {"events", stream_events},
    {"error", stream_error},
    {"close", stream_close},
    {NULL, NULL},
};

static const luaL_Reg stream_meta[] = {
    {"__gc", stream_gc},
    {"__close", stream_close},
    {"__tostring", stream_tostring},
    {NULL, NULL},
};

static const luaL_Reg guard_meta[] = {{"__close", guard_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"request", http_request},
    {"stream", http_stream},
    {NULL, NULL},
};

int luaopen_agenthost_http(lua_State *L)
{
    ah_handle_type(L, GUARD, NULL, guard_meta);
    ah_handle_type(L, TYPE, stream_methods, stream_meta);
    luaL_getmetatable(L, TYPE);     /* meta */
    lua_getfield(L, -1, "__index"); /* meta methods */
    lua_pushcclosure(L, stream_index, 1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
