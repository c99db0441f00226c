#include "sse_join.h"

#include "json_string.h"

#include <errno.h>
#include <string.h>

void ah_sse_join_init(struct ah_sse_join *join, size_t limit)
{
    *join = (struct ah_sse_join){.limit = limit != 0 ? limit : AH_SSE_JOIN_LIMIT};
}

void ah_sse_join_clear(struct ah_sse_join *join)
{
    ah_sse_join_drop_markers(join);
    ah_buf_clear(&join->data);
    ah_buf_clear(&join->behind);
    ah_buf_clear(&join->name);
    ah_buf_clear(&join->id);
    ah_sse_join_init(join, join->limit);
}

int ah_sse_join_add_marker(struct ah_sse_join *join, const char *marker, size_t len)
{
    if (len == 0 || len > AH_SSE_JOIN_MARKER_MAX || marker[len - 1] != '"') {
        return -EINVAL;
    }
    if (join->marker_count == AH_SSE_JOIN_MARKERS) {
        return -E2BIG;
    }
    int rc = ah_buf_add(&join->markers[join->marker_count], marker, len);
    join->marker_count += rc == 0;
    return rc;
}

void ah_sse_join_drop_markers(struct ah_sse_join *join)
{
    while (join->marker_count > 0) {
        ah_buf_clear(&join->markers[--join->marker_count]);
    }
}

/* The inside of the one string behind a marker that is not empty, or NULL. With two of them there
 * is no telling which one grows. */
static const char *find_string(const struct ah_sse_join *join, const struct ah_sse_event *event)
{
    const char *end = event->data + event->data_len;
    const char *found = NULL;
    for (size_t i = 0; i < join->marker_count; i++) {
        const struct ah_buf *marker = &join->markers[i];
        const char *at = event->data;
        while ((at = memmem(at, (size_t)(end - at), marker->data, marker->len)) != NULL) {
            at += marker->len;
            if (at < end && *at == '"') {
                continue;
            }
            if (found != NULL) {
                return NULL;
            }
            found = at;
        }
    }
    return found;
}

static bool set(struct ah_buf *buf, const char *bytes, size_t len)
{
    buf->len = 0;
    return ah_buf_add(buf, bytes, len) == 0;
}

/* Makes `event` the one that is held; false when it is none to be joined. */
static bool hold(struct ah_sse_join *join, const struct ah_sse_event *event)
{
    const char *end = event->data + event->data_len;
    bool may_grow = !event->has_breaks && event->data_len < join->limit;
    const char *from = may_grow ? find_string(join, event) : NULL;
    const char *to = from != NULL ? ah_json_string_end(from, end) : NULL;
    if (to == NULL) {
        return false;
    }
    join->before = (size_t)(from - event->data);
    join->is_held = set(&join->behind, to, (size_t)(end - to)) &&
                    set(&join->name, event->name, event->name_len) &&
                    set(&join->id, event->id, event->id_len) &&
                    set(&join->data, event->data, (size_t)(to - event->data)) &&
                    ah_buf_reserve(&join->data, join->behind.len) == 0;
    return join->is_held;
}

static bool is_equal(const struct ah_buf *buf, const char *bytes, size_t len)
{
    return buf->len == len && memcmp(ah_buf_str(buf), bytes, len) == 0;
}

/* Adds the string of `event` to the event that is held; false when it is another kind of event. */
static bool add(struct ah_sse_join *join, const struct ah_sse_event *event)
{
    const char *end = event->data + event->data_len;
    const char *from = event->data + join->before;
    if (event->has_breaks || event->data_len <= join->before || *from == '"' ||
        memcmp(event->data, join->data.data, join->before) != 0 ||
        !is_equal(&join->name, event->name, event->name_len) ||
        !is_equal(&join->id, event->id, event->id_len)) {
        return false;
    }
    const char *to = ah_json_string_end(from, end);
    if (to == NULL || !is_equal(&join->behind, to, (size_t)(end - to))) {
        return false;
    }
    size_t more = (size_t)(to - from);
    if (join->data.len + more + join->behind.len > join->limit ||
        ah_buf_reserve(&join->data, more + join->behind.len) < 0) {
        return false;
    }
    ah_buf_add(&join->data, from, more); /* there is room */
    return true;
}

bool ah_sse_join_flush(struct ah_sse_join *join, struct ah_sse_event *ret_event)
{
    if (!join->is_held || join->is_given) {
        return false;
    }
    ah_buf_add(&join->data, ah_buf_str(&join->behind), join->behind.len); /* there is room */
    *ret_event = (struct ah_sse_event){
        .name = ah_buf_str(&join->name),
        .name_len = join->name.len,
        .data = join->data.data,
        .data_len = join->data.len,
        .id = ah_buf_str(&join->id),
        .id_len = join->id.len,
    };
    join->is_given = true;
    return true;
}

int ah_sse_join_next(struct ah_sse_join *join, struct ah_sse *sse, struct ah_sse_event *ret_event,
                     struct ah_err *err)
{
    if (join->is_given) {
        join->is_given = false;
        join->is_held = false;
    }
    while (true) {
        struct ah_sse_event event = join->waiting;
        int rc = join->is_waiting ? 1 : ah_sse_next(sse, &event, err);
        join->is_waiting = false;
        if (rc == 0) {
            return 0;
        }
        if (rc == 1 && (join->is_held ? add(join, &event) : hold(join, &event))) {
            continue;
        }
        if (ah_sse_join_flush(join, ret_event)) {
            join->waiting = event; /* a failure of the parser stays */
            join->is_waiting = rc == 1;
            return 1;
        }
        if (rc == 1) {
            *ret_event = event;
        }
        return rc;
    }
}
