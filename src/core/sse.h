/*
 * Server-sent events: takes a byte stream apart into events, by the rules of the WHATWG HTML
 * Standard, section 9.2.6. Any way of cutting the stream into pieces gives the same events.
 *
 * Not for connecting again (`retry` is only reported) and not for UTF-8: bytes come out as they
 * came in.
 *
 * Life: init; then in turns feed a piece and call next until it gives 0; clear. At the end of the
 * stream nothing is to be done: an event without its blank line is discarded, as the standard says.
 */
#pragma once

#include "buf.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>

#define AH_SSE_LIMIT (16u * 1024 * 1024) /* the usual limit of a line and of an event */

/* All borrowed from the parser, or from the piece that was fed, until the next call on the parser;
 * none is NUL-terminated text. */
struct ah_sse_event {
    const char *name; /* "message" when the stream gave none */
    size_t name_len;
    const char *data;
    size_t data_len;
    const char *id; /* the last id of the stream, also from an earlier event; "" when none */
    size_t id_len;
    bool has_breaks; /* the data is of several lines */
};

/* The value of a field: part of the piece that was fed as long as that is there, else a copy. */
struct ah_sse_value {
    const char *bytes;
    size_t len;
    struct ah_buf copy;
};

/* The fields are private. */
struct ah_sse {
    const char *input, *end; /* what is left of the piece that was fed */
    const char *next_lf;     /* the first LF in [input, end], `end` if none; valid if >= input */
    const char *next_cr;     /* the same for CR */
    struct ah_buf line;      /* the start of a line whose end has not come */
    struct ah_sse_value data, name; /* of the event being collected; data NULL: no line of it yet */
    struct ah_buf id;
    size_t limit;
    int64_t retry_ms;
    int failure;        /* negative errno once the stream is beyond use */
    unsigned char bom;  /* bytes of a byte order mark seen at the start; 3: past the start */
    bool skip_lf;       /* the last line ended with CR: an LF that comes now belongs to it */
    bool has_breaks;    /* data is of several lines */
    bool is_dispatched; /* data and name were given out and have to be emptied */
};

/* In place. `limit`: the most bytes of one line and of the data of one event, 0: AH_SSE_LIMIT. */
void ah_sse_init(struct ah_sse *sse, size_t limit);
void ah_sse_clear(struct ah_sse *sse);

/* Gives the next piece of the stream. The bytes are borrowed, and have to stay where they are,
 * until ah_sse_next has returned something other than 1. The piece before has to be used up. */
void ah_sse_feed(struct ah_sse *sse, const void *data, size_t len);

/* 1: *ret_event is filled. 0: feed more. -EMSGSIZE: a line or an event passed the limit, or
 * -ENOMEM; both for good, with *err filled. */
int ah_sse_next(struct ah_sse *sse, struct ah_sse_event *ret_event, struct ah_err *err);

/* The last `retry` of the stream in milliseconds, -1 when there was none. */
int64_t ah_sse_retry_ms(const struct ah_sse *sse);
