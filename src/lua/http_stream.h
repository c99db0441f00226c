/*
 * Streams of agenthost.http, shared by the files of that module and by nobody else:
 * http.c         options, http.request, http.stream, http.replay
 * http_stream.c  a stream: reading it in bytes or events, its end
 */
#pragma once

#include "binding.h"

#include "core/http.h"
#include "core/sse_join.h"
#include "core/wake.h"

#define AH_HTTP_STREAM "agenthost.http.stream"

/* One request. Its uservalue is a table with what scripts read as fields: status, headers, url. */
struct ah_stream {
    bool is_open;
    struct ah_http_request *request; /* NULL unless open */
    struct ah_wake *wake;            /* NULL: a recorded answer, for which nobody waits */
    uint64_t id;
    struct ah_buf chunk; /* bytes taken from the request, given to Lua up to `used` */
    size_t used;
    struct ah_sse sse;
    struct ah_sse_join join;
    bool has_events; /* sse borrows from chunk, which only stream_event may change from now on */
    bool keep;
    struct ah_buf kept; /* from the end of the request, and memory for the next kept() */
    const char *code;   /* of a failure noted here; NULL: see the request */
    char code_copy[32]; /* where the request's code is gone with it */
    struct ah_err err;
};

/* Pushes a closed stream. */
struct ah_stream *ah_stream_new(lua_State *L, size_t max_event);

/* Ends the request, if there is one, and frees all but what kept() and error() need. */
void ah_stream_shut(struct ah_stream *stream);

/* Pushes a new table with status, headers and url. */
void ah_stream_push_answer(lua_State *L, const struct ah_http_request *request);

/* What a function gives that finds nothing to give: nil at the end, nil, message, code after a
 * failure or when the stream was closed meanwhile, or -1: wait. */
int ah_stream_push_end(lua_State *L, const struct ah_stream *stream);

/* Looks at the stream at 1: pushes results and returns their number, or -1 to wait for news. */
typedef int ah_stream_look(lua_State *L);

/* Looks until there are results. Use as: return ah_stream_wait(L, look). */
int ah_stream_wait(lua_State *L, ah_stream_look *look);

/* Registers the handle type. */
void ah_stream_type(lua_State *L);
