/*
 * Joins server-sent events that lie unread one behind the other and differ in nothing but one JSON
 * string: a model's text comes in events of a few bytes, and a reader that is behind is better
 * served with few long ones. Nothing waits here: what has been received decides.
 *
 * A marker is literal text that ends with the first quote of a JSON string, such as
 * "text_delta","text":" (with both quotes). Two events are joined when they have the same name and
 * id, and data that is equal byte for byte before and behind the string that follows a marker. The
 * joined event's string holds the insides of both strings as they were written, so that it decodes
 * as if the server had sent it at once; a surrogate pair that was cut in two is whole again.
 * Whatever is unusual is passed on as it is: no marker, a string without an end, data of several
 * lines. So is an event whose string is empty, for then what counts stands elsewhere in it, and one
 * with two strings behind markers that are not empty.
 *
 * Not a JSON parser, and not for events that mean something by themselves: who names a marker says
 * that its strings may be put together.
 *
 * Life: init; add_marker; then, for each piece fed to the event-stream parser, ah_sse_join_next
 * until it gives 0; ah_sse_join_flush when no further piece is there yet; clear.
 */
#pragma once

#include "sse.h"

#define AH_SSE_JOIN_LIMIT (64u * 1024) /* a joined event grows no further than this */
#define AH_SSE_JOIN_MARKERS 8
#define AH_SSE_JOIN_MARKER_MAX 128 /* bytes */

/* The fields are private. */
struct ah_sse_join {
    struct ah_buf markers[AH_SSE_JOIN_MARKERS];
    size_t marker_count;
    size_t limit;
    struct ah_buf data; /* of the event that is held: up to the end of its string, without quote */
    size_t before;      /* bytes of it before the string */
    struct ah_buf behind;
    struct ah_buf name, id;
    struct ah_sse_event waiting; /* read, and to be looked at after the one that was given out */
    bool is_held, is_given, is_waiting;
};

/* In place. `limit`: the most bytes of the data of a joined event, 0: AH_SSE_JOIN_LIMIT. */
void ah_sse_join_init(struct ah_sse_join *join, size_t limit);
void ah_sse_join_clear(struct ah_sse_join *join);

/* From now on strings behind `marker` are joined. -EINVAL: it does not end with a quote, or is
 * longer than AH_SSE_JOIN_MARKER_MAX. -E2BIG: there are AH_SSE_JOIN_MARKERS already. -ENOMEM. */
int ah_sse_join_add_marker(struct ah_sse_join *join, const char *marker, size_t len);

/* Forgets the markers, but no event. */
void ah_sse_join_drop_markers(struct ah_sse_join *join);

/* Like ah_sse_next of the parser, which nobody else may ask from now on. 0: the piece is used up,
 * and one event may be held back. A failure comes after the events before it. The event is borrowed
 * until the next call. Without markers, and without memory, events pass as they are. */
int ah_sse_join_next(struct ah_sse_join *join, struct ah_sse *sse, struct ah_sse_event *ret_event,
                     struct ah_err *err);

/* The event that is held back; false when there is none. Borrowed until the next call. */
bool ah_sse_join_flush(struct ah_sse_join *join, struct ah_sse_event *ret_event);
