#include "sse.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static const char bom_bytes[3] = {'\xEF', '\xBB', '\xBF'};

void ah_sse_init(struct ah_sse *sse, size_t limit)
{
    *sse = (struct ah_sse){.limit = limit != 0 ? limit : AH_SSE_LIMIT, .retry_ms = -1};
    ah_buf_init(&sse->line, sse->limit);
    ah_buf_init(&sse->data.copy, sse->limit);
    ah_buf_init(&sse->name.copy, sse->limit);
    ah_buf_init(&sse->id, sse->limit);
}

void ah_sse_clear(struct ah_sse *sse)
{
    ah_buf_clear(&sse->line);
    ah_buf_clear(&sse->data.copy);
    ah_buf_clear(&sse->name.copy);
    ah_buf_clear(&sse->id);
    sse->data.bytes = sse->name.bytes = NULL;
    sse->input = sse->end = NULL;
}

/* The first `byte` in [from, end), or end. */
static const char *find(const char *from, const char *end, char byte)
{
    const char *found = from < end ? memchr(from, byte, (size_t)(end - from)) : NULL;
    return found != NULL ? found : end;
}

/* The first line end in what is left. Remembers both positions, so that a stream that uses only one
 * kind of line end is not searched to its end for the other at each line. */
static const char *find_line_end(struct ah_sse *sse)
{
    if (sse->next_lf < sse->input) {
        sse->next_lf = find(sse->input, sse->end, '\n');
    }
    if (sse->next_cr < sse->input) {
        sse->next_cr = find(sse->input, sse->end, '\r');
    }
    return sse->next_lf < sse->next_cr ? sse->next_lf : sse->next_cr;
}

void ah_sse_feed(struct ah_sse *sse, const void *data, size_t len)
{
    assert(sse->input == sse->end || sse->failure != 0);
    if (len == 0 || sse->failure != 0) {
        return;
    }
    sse->input = data;
    sse->end = sse->input + len;
    sse->next_lf = find(sse->input, sse->end, '\n');
    sse->next_cr = find(sse->input, sse->end, '\r');
}

/* Passes over a byte order mark, which may come in pieces. What only looked like the start of one
 * belongs to the first line. */
static int skip_bom(struct ah_sse *sse)
{
    while (sse->bom < sizeof bom_bytes && sse->input < sse->end) {
        if (*sse->input != bom_bytes[sse->bom]) {
            int rc = ah_buf_add(&sse->line, bom_bytes, sse->bom);
            sse->bom = sizeof bom_bytes;
            return rc;
        }
        sse->bom++;
        sse->input++;
    }
    return 0;
}

static int set_copy(struct ah_buf *copy, const char *bytes, size_t len)
{
    copy->len = 0;
    return ah_buf_add(copy, bytes, len);
}

/* Makes a value last that is part of the piece. */
static int keep(struct ah_sse_value *value)
{
    if (value->bytes == NULL || value->bytes == value->copy.data) {
        return 0;
    }
    int rc = set_copy(&value->copy, value->bytes, value->len);
    value->bytes = value->copy.data;
    return rc;
}

static int keep_all(struct ah_sse *sse)
{
    int rc = keep(&sse->data);
    return rc < 0 ? rc : keep(&sse->name);
}

/* `lasts`: the bytes are part of the piece, not of a line that was put together. */
static int set_value(struct ah_sse_value *value, const char *bytes, size_t len, bool lasts)
{
    value->bytes = bytes;
    value->len = len;
    return lasts ? 0 : keep(value);
}

/* A further line of data. */
static int add_data(struct ah_sse_value *data, const char *bytes, size_t len)
{
    int rc = keep(data);
    if (rc == 0) {
        rc = ah_buf_add(&data->copy, "\n", 1);
    }
    if (rc == 0) {
        rc = ah_buf_add(&data->copy, bytes, len);
    }
    data->bytes = data->copy.data;
    data->len = data->copy.len;
    return rc;
}

static void set_retry(struct ah_sse *sse, const char *value, size_t len)
{
    int64_t ms = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9') {
            return;
        }
        if (ms < INT64_MAX / 100) {
            ms = ms * 10 + (value[i] - '0');
        }
    }
    if (len > 0) {
        sse->retry_ms = ms;
    }
}

/* Where the name of a field ends. The two usual ones are not searched for. */
static const char *find_colon(const char *line, const char *end)
{
    size_t len = (size_t)(end - line);
    if (len >= 5 && memcmp(line, "data:", 5) == 0) {
        return line + 4;
    }
    if (len >= 6 && memcmp(line, "event:", 6) == 0) {
        return line + 5;
    }
    return find(line, end, ':');
}

static bool is_name(const char *name, size_t len, const char *wanted)
{
    return len == strlen(wanted) && memcmp(name, wanted, len) == 0;
}

static int take_field(struct ah_sse *sse, const char *line, size_t len, bool lasts)
{
    const char *end = line + len;
    const char *colon = find_colon(line, end);
    size_t name_len = (size_t)(colon - line);
    const char *value = colon < end ? colon + 1 : end;
    if (value < end && *value == ' ') {
        value++;
    }
    size_t value_len = (size_t)(end - value);

    if (is_name(line, name_len, "data")) {
        sse->has_breaks = sse->data.bytes != NULL;
        return sse->data.bytes == NULL ? set_value(&sse->data, value, value_len, lasts)
                                       : add_data(&sse->data, value, value_len);
    }
    if (is_name(line, name_len, "event")) {
        return set_value(&sse->name, value, value_len, lasts);
    }
    if (is_name(line, name_len, "id") && find(value, end, '\0') == end) {
        return set_copy(&sse->id, value, value_len);
    }
    if (is_name(line, name_len, "retry")) {
        set_retry(sse, value, value_len);
    }
    return 0; /* comments (an empty name) and unknown fields are ignored */
}

/* A blank line. 1 when it ends an event. */
static int dispatch(struct ah_sse *sse, struct ah_sse_event *ret_event)
{
    if (sse->data.bytes == NULL) {
        sse->name.len = 0;
        return 0;
    }
    bool has_name = sse->name.len > 0;
    *ret_event = (struct ah_sse_event){
        .name = has_name ? sse->name.bytes : "message",
        .name_len = has_name ? sse->name.len : strlen("message"),
        .data = sse->data.bytes,
        .data_len = sse->data.len,
        .id = ah_buf_str(&sse->id),
        .id_len = sse->id.len,
        .has_breaks = sse->has_breaks,
    };
    sse->is_dispatched = true;
    return 1;
}

/* Takes one line, or the start of one, from the input. 1 when it ended an event. */
static int take_line(struct ah_sse *sse, struct ah_sse_event *ret_event)
{
    const char *line = sse->input;
    const char *line_end = find_line_end(sse);
    size_t len = (size_t)(line_end - line);

    if (line_end == sse->end) {
        sse->input = sse->end;
        return ah_buf_add(&sse->line, line, len);
    }
    bool lasts = sse->line.len == 0;
    if (!lasts) {
        int rc = ah_buf_add(&sse->line, line, len);
        if (rc < 0) {
            return rc;
        }
        line = sse->line.data;
        len = sse->line.len;
        sse->line.len = 0; /* the bytes stay */
    } else if (len > sse->limit) {
        return -EMSGSIZE;
    }
    sse->skip_lf = *line_end == '\r';
    sse->input = line_end + 1;
    return len == 0 ? dispatch(sse, ret_event) : take_field(sse, line, len, lasts);
}

static int fail(struct ah_sse *sse, int code, struct ah_err *err)
{
    sse->failure = code;
    sse->input = sse->end;
    if (code == -EMSGSIZE) {
        return ah_err_set(err, code, "an event of the stream is larger than %zu bytes (max_event)",
                          sse->limit);
    }
    return ah_err_set(err, code, "out of memory for an event of the stream");
}

int ah_sse_next(struct ah_sse *sse, struct ah_sse_event *ret_event, struct ah_err *err)
{
    if (sse->failure != 0) {
        return fail(sse, sse->failure, err);
    }
    if (sse->is_dispatched) {
        sse->is_dispatched = false;
        sse->data.bytes = NULL;
        sse->name.len = 0;
    }
    int rc = skip_bom(sse);
    while (rc == 0 && sse->input < sse->end) {
        if (sse->skip_lf && *sse->input == '\n') {
            sse->input++;
        }
        sse->skip_lf = false;
        if (sse->input < sse->end) {
            rc = take_line(sse, ret_event);
        }
    }
    if (rc == 0) {
        rc = keep_all(sse); /* the piece goes away */
    }
    return rc < 0 ? fail(sse, rc, err) : rc;
}

int64_t ah_sse_retry_ms(const struct ah_sse *sse)
{
    return sse->retry_ms;
}
