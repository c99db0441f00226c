/*
 * agenthost.http: requests and streams. What a stream does is in http_stream.c.
 */
#include "http_stream.h"

#include "core/reactor.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define GUARD "agenthost.http.guard"

#define REQUEST_TIMEOUT 600.0
#define REQUEST_MAX_BODY (64 * 1024 * 1024)

/* Closes a stream when the function that makes it is left by an error. */
struct guard {
    struct ah_stream *stream; /* NULL: nothing to close */
};

/* ---- options ---- */

static const char *const known_options[] = {
    "url",           "method",   "headers",     "body",    "timeout",   "connect_timeout",
    "stall_timeout", "max_body", "max_headers", "ca_file", "redirects", "max_event",
    "keep",          NULL,
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

/* Leaves the body on the stack, and a box with the array of its parts. */
static void read_body(lua_State *L, struct ah_http_options *options)
{
    int type = lua_getfield(L, 1, "body"); /* body */
    if (type != LUA_TTABLE) {
        options->body = ah_opt_string(L, 1, "body", NULL, &options->body_len);
        return;
    }
    size_t count = lua_rawlen(L, -1);
    struct ah_http_part *parts = lua_newuserdatauv(L, count * sizeof *parts + 1, 0); /* body box */
    for (size_t i = 0; i < count; i++) {
        if (lua_rawgeti(L, -2, (lua_Integer)i + 1) != LUA_TSTRING) {
            luaL_error(L, "option 'body': part %d is a %s, expected a string", (int)i + 1,
                       luaL_typename(L, -1));
        }
        parts[i].bytes = lua_tolstring(L, -1, &parts[i].len);
        lua_pop(L, 1);
    }
    options->parts = parts;
    options->part_count = count;
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
    options->timeout = ah_opt_seconds(L, 1, "timeout", timeout);
    options->connect_timeout = ah_opt_seconds(L, 1, "connect_timeout", options->connect_timeout);
    options->stall_timeout = ah_opt_seconds(L, 1, "stall_timeout", options->stall_timeout);
    options->max_body = (size_t)ah_opt_integer(L, 1, "max_body", max_body, 0, LUA_MAXINTEGER);
    options->max_headers = (size_t)ah_opt_integer(
        L, 1, "max_headers", (lua_Integer)options->max_headers, 1, 16 * 1024 * 1024);
    options->ca_file = ah_opt_cstring(L, 1, "ca_file", NULL);
    options->redirects = (int)ah_opt_integer(L, 1, "redirects", -1, -1, 20);
    options->keep = ah_opt_bool(L, 1, "keep", false);
    read_headers(L, options);
    read_body(L, options);
    return (size_t)ah_opt_integer(L, 1, "max_event", AH_SSE_LIMIT, 1, 1024 * 1024 * 1024);
}

/* ---- http.request ---- */

/* Opens it: 0, or the number of pushed results of a failure. */
static int open_stream(lua_State *L, struct ah_stream *stream,
                       const struct ah_http_options *options)
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
    stream->keep = options->keep;
    stream->is_open = true;
    return 0;
}

/* http.request{...} -> { status, headers, body, url } | nil, message, code */
static int look_request(lua_State *L)
{
    struct ah_stream *stream = lua_touserdata(L, 1);
    if (ah_http_request_state(stream->request) != AH_HTTP_DONE) {
        return ah_stream_push_end(L, stream);
    }
    ah_stream_push_answer(L, stream->request);
    ah_http_request_take(stream->request, &stream->chunk);
    lua_pushlstring(L, ah_buf_str(&stream->chunk), stream->chunk.len);
    lua_setfield(L, -2, "body");
    return 1;
}

static int begin_request(lua_State *L)
{
    struct ah_http_options options;
    size_t max_event = read_options(L, &options, REQUEST_TIMEOUT, REQUEST_MAX_BODY);
    struct ah_stream *stream = ah_stream_new(L, max_event);
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
    return ah_stream_wait(L, look_request);
}

/* ---- http.stream ---- */

/* stack: stream guard */
static int look_stream(lua_State *L)
{
    struct ah_stream *stream = lua_touserdata(L, 1);
    struct guard *guard = lua_touserdata(L, 2);
    if (ah_http_request_status(stream->request) == 0) {
        return ah_stream_push_end(L, stream);
    }
    ah_stream_push_answer(L, stream->request);
    lua_setiuservalue(L, 1, 1);
    guard->stream = NULL;
    lua_pushvalue(L, 1);
    return 1;
}

static int begin_stream(lua_State *L)
{
    struct ah_http_options options;
    size_t max_event = read_options(L, &options, HUGE_VAL, 0);
    struct ah_stream *stream = ah_stream_new(L, max_event);
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
    return ah_stream_wait(L, look_stream);
}

static int guard_close(lua_State *L)
{
    struct guard *guard = luaL_checkudata(L, 1, GUARD);
    if (guard->stream != NULL) {
        ah_stream_shut(guard->stream);
        guard->stream = NULL;
    }
    return 0;
}

/* ---- http.replay ---- */

/* Reads error = { message, code }, which stays on the stack. */
static void read_error(lua_State *L, struct ah_http_replay *replay)
{
    if (lua_getfield(L, 1, "error") == LUA_TNIL) {
        return;
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "option 'error': expected { message, code }, got a %s", luaL_typename(L, -1));
    }
    if (lua_rawgeti(L, -1, 1) != LUA_TSTRING || lua_rawgeti(L, -2, 2) != LUA_TSTRING) {
        luaL_error(L, "option 'error': expected { message, code }, both strings");
    }
    replay->message = lua_tostring(L, -2);
    replay->code = lua_tostring(L, -1);
}

/* http.replay{...} -> stream | nil, message, code */
static int http_replay(lua_State *L)
{
    static const char *const known[] = {"status", "headers", "body", "error", "url", "keep", NULL};
    struct ah_http_options options = {0};
    struct ah_http_replay replay = {0};
    struct ah_err err;
    ah_opt_check(L, 1, known);
    replay.status = (int)ah_opt_integer(L, 1, "status", 200, 100, 999);
    replay.body = ah_opt_string(L, 1, "body", "", &replay.body_len);
    replay.url = ah_opt_cstring(L, 1, "url", "");
    replay.keep = ah_opt_bool(L, 1, "keep", false);
    read_headers(L, &options);
    replay.headers = options.headers;
    replay.header_count = options.header_count;
    read_error(L, &replay);
    struct ah_stream *stream = ah_stream_new(L, 0);
    int rc = ah_http_replay(&replay, &stream->request, &err);
    if (rc < 0) {
        return ah_push_failure(L, &err, rc == -ENOMEM ? "NOMEM" : NULL);
    }
    stream->keep = replay.keep;
    stream->is_open = true;
    ah_stream_push_answer(L, stream->request);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* ---- the module ---- */

static const luaL_Reg guard_meta[] = {{"__close", guard_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"request", http_request},
    {"stream", http_stream},
    {"replay", http_replay},
    {NULL, NULL},
};

int luaopen_agenthost_http(lua_State *L)
{
    ah_handle_type(L, GUARD, NULL, guard_meta);
    ah_stream_type(L);
    luaL_newlib(L, functions);
    return 1;
}
