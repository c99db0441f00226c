#include "sse_oracle.h"

#include "core/sse.h"
#include "core/sse_join.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT ((size_t)2000)      /* of the parser, small enough to be met */
#define JOIN_LIMIT ((size_t)1000) /* of a joined event */

size_t sse_oracle_plain, sse_oracle_joined;

static const char *const markers[] = {"\"text_delta\",\"text\":\"", "\"t\":\""};

struct piece {
    char *bytes;
    size_t len;
};

struct event {
    struct piece name, data, id;
};

struct events {
    struct event *list;
    size_t count, cap;
    int end; /* what the parser gave last */
};

/* Random numbers of our own, so that a seed means the same everywhere. */
static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static struct piece copy(const char *bytes, size_t len)
{
    struct piece piece = {malloc(len + 1), len};
    assert(piece.bytes != NULL);
    memcpy(piece.bytes, bytes, len);
    piece.bytes[len] = '\0';
    return piece;
}

static void add(struct events *events, const struct ah_sse_event *event)
{
    assert(events->count < events->cap);
    events->list[events->count++] =
        (struct event){copy(event->name, event->name_len), copy(event->data, event->data_len),
                       copy(event->id, event->id_len)};
}

/* For the events of a stream of `len` bytes: one takes at least six. */
static void init(struct events *events, size_t len)
{
    size_t cap = len / 6 + 1;
    *events = (struct events){.list = malloc(cap * sizeof *events->list), .cap = cap};
    assert(events->list != NULL);
}

static void clear(struct events *events)
{
    for (size_t i = 0; i < events->count; i++) {
        free(events->list[i].name.bytes);
        free(events->list[i].data.bytes);
        free(events->list[i].id.bytes);
    }
    free(events->list);
}

/* Each piece has memory of its own that is gone afterwards. */
static void parse(struct events *events, const uint8_t *bytes, size_t len, uint64_t seed,
                  struct ah_sse_join *join)
{
    struct ah_sse sse;
    struct ah_sse_event event;
    struct ah_err err;
    uint64_t mask = (seed & 1) != 0 ? 15 : 1023;
    ah_sse_init(&sse, LIMIT);
    for (size_t at = 0; at < len && events->end == 0;) {
        size_t some = seed == 0 ? len : (size_t)(next_random(&seed) & mask) + 1;
        some = some < len - at ? some : len - at;
        char *piece = malloc(some);
        assert(piece != NULL);
        memcpy(piece, bytes + at, some);
        at += some;
        ah_sse_feed(&sse, piece, some);
        while ((events->end = join != NULL ? ah_sse_join_next(join, &sse, &event, &err)
                                           : ah_sse_next(&sse, &event, &err)) == 1) {
            add(events, &event);
        }
        free(piece);
        bool is_over = at == len || events->end < 0;
        if (join != NULL && (is_over || next_random(&seed) % 4 == 0) &&
            ah_sse_join_flush(join, &event)) {
            add(events, &event);
        }
    }
    ah_sse_clear(&sse);
}

static bool same(struct piece a, struct piece b)
{
    return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

static bool same_event(const struct event *a, const struct event *b)
{
    return same(a->name, b->name) && same(a->id, b->id) && same(a->data, b->data);
}

/* Finds the one string behind a marker that is not empty: its inside is [*from, *to). */
static bool find_string(struct piece data, size_t *from, size_t *to)
{
    size_t found = 0;
    for (size_t m = 0; m < sizeof markers / sizeof *markers; m++) {
        size_t len = strlen(markers[m]);
        for (size_t at = 0; at + len <= data.len; at++) {
            bool is_marker = memcmp(data.bytes + at, markers[m], len) == 0;
            if (is_marker && data.bytes[at + len] != '"') {
                *from = at + len;
                found++;
            }
        }
    }
    for (*to = *from; found == 1 && *to < data.len && data.bytes[*to] != '"';) {
        *to += data.bytes[*to] == '\\' ? 2 : 1;
    }
    return found == 1 && *to < data.len;
}

/* Whether `part` is one that may be joined with `joined`, whose string begins at `from` and is
 * followed by `behind`; then its string is *ret_text. */
static bool fits(const struct event *part, const struct event *joined, size_t from,
                 struct piece behind, struct piece *ret_text)
{
    size_t start = 0;
    size_t stop = 0;
    if (!same(part->name, joined->name) || !same(part->id, joined->id) ||
        !find_string(part->data, &start, &stop) || start != from ||
        memcmp(part->data.bytes, joined->data.bytes, from) != 0 ||
        memchr(part->data.bytes, '\n', part->data.len) != NULL) {
        return false;
    }
    struct piece tail = {part->data.bytes + stop, part->data.len - stop};
    *ret_text = (struct piece){part->data.bytes + start, stop - start};
    return same(tail, behind);
}

/* Takes the events from plain[*at] on that make up `joined`. */
static const char *explain(const struct event *joined, const struct events *plain, size_t *at)
{
    const struct event *parts = plain->list;
    size_t from = 0;
    size_t to = 0;
    struct piece text;
    if (*at < plain->count && same_event(joined, &parts[*at])) {
        (*at)++;
        return NULL;
    }
    if (!find_string(joined->data, &from, &to)) {
        return "an event is not that of the stream";
    }
    struct piece behind = {joined->data.bytes + to, joined->data.len - to};
    for (size_t done = from; done < to; (*at)++) {
        if (*at == plain->count || !fits(&parts[*at], joined, from, behind, &text)) {
            return "events were joined that differ";
        }
        if (joined->data.len > JOIN_LIMIT) {
            return "a joined event is larger than the limit";
        }
        if (text.len > to - done || memcmp(text.bytes, joined->data.bytes + done, text.len) != 0) {
            return "the string of a joined event is not that of its parts";
        }
        done += text.len;
    }
    return NULL;
}

static const char *compare(const struct events *plain, const struct events *joined)
{
    size_t at = 0;
    const char *wrong = NULL;
    for (size_t i = 0; i < joined->count && wrong == NULL; i++) {
        wrong = explain(&joined->list[i], plain, &at);
    }
    return wrong != NULL ? wrong : at == plain->count ? NULL : "events were lost";
}

const char *sse_oracle(const uint8_t *bytes, size_t len, uint64_t seed)
{
    struct events whole;
    struct events cut;
    struct events joined;
    struct ah_sse_join join;
    const char *wrong = NULL;
    ah_sse_join_init(&join, JOIN_LIMIT);
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++) {
        int rc = ah_sse_join_add_marker(&join, markers[i], strlen(markers[i]));
        assert(rc == 0);
        (void)rc;
    }
    init(&whole, len);
    init(&cut, len);
    init(&joined, len);
    parse(&whole, bytes, len, 0, NULL);
    parse(&cut, bytes, len, seed | 2, NULL);
    parse(&joined, bytes, len, seed | 2, &join);
    if (whole.end != cut.end || whole.count != cut.count) {
        wrong = "cutting the stream changes the number of events, or the end";
    }
    for (size_t i = 0; i < whole.count && wrong == NULL; i++) {
        if (!same_event(&whole.list[i], &cut.list[i])) {
            wrong = "cutting the stream changes an event";
        }
    }
    if (wrong == NULL && joined.end != whole.end) {
        wrong = "joining changes the end";
    }
    if (wrong == NULL) {
        wrong = compare(&whole, &joined);
    }
    sse_oracle_plain = whole.count;
    sse_oracle_joined = joined.count;
    clear(&whole);
    clear(&cut);
    clear(&joined);
    ah_sse_join_clear(&join);
    return wrong;
}
