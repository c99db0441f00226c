/* The source of a piece: where it ends, and what it is changed to before it is parsed. */
#include "markdown_internal.h"

#include "text.h"

#include <string.h>

size_t ah_md_line_end(const char *text, size_t at, size_t end)
{
    const char *found = at < end ? memchr(text + at, '\n', end - at) : NULL;
    return found != NULL ? (size_t)(found - text) : end;
}

size_t ah_md_line_start(const char *text, size_t at)
{
    const char *found = at > 0 ? memrchr(text, '\n', at) : NULL;
    return found != NULL ? (size_t)(found - text) + 1 : 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The length of a list's marker, "- " or "12. ", without the space; 0 when there is none. */
static size_t marker_length(const char *text, size_t at, size_t end)
{
    size_t len = 0;
    while (at + len < end && len < 9 && is_digit(text[at + len])) {
        len++;
    }
    if (at + len >= end) {
        return 0;
    }
    char c = text[at + len];
    bool is_marker = len > 0 ? c == '.' || c == ')' : c == '-' || c == '*' || c == '+';
    len++;
    bool ends = at + len == end || is_space(text[at + len]) || text[at + len] == '\n';
    return is_marker && ends ? len : 0;
}

size_t ah_md_skip_markers(const char *text, size_t at, size_t end, bool all)
{
    while (at < end) {
        if (is_space(text[at]) || text[at] == '>' || text[at] == AH_MD_MARK) {
            at++;
        } else {
            size_t marker = all ? marker_length(text, at, end) : 0;
            if (marker == 0) {
                break;
            }
            at += marker;
        }
    }
    return at;
}

bool ah_md_is_blank(const char *text, size_t at, size_t end)
{
    return ah_md_skip_markers(text, at, end, false) == end;
}

bool ah_md_has_bar(const char *text, size_t at, size_t end)
{
    at = ah_md_skip_markers(text, at, end, true);
    size_t len = end - at < AH_MD_BAR ? end - at : AH_MD_BAR;
    return memchr(text + at, '|', len) != NULL;
}

/* ---- cutting ---- */

/* Code blocks get a new piece at about this length: they may be cut anywhere, and what is still
 * coming is parsed again and again. */
#define CODE_PIECE 4096

struct fence {
    char mark; /* 0: not in a fenced code block */
    size_t len;
    bool is_plain; /* in no other block */
};

static size_t run_length(const char *text, size_t at, size_t end)
{
    size_t len = 1;
    while (at + len < end && text[at + len] == text[at]) {
        len++;
    }
    return len;
}

/* Follows fences over the line [at, end). A fence in a place where it is none makes pieces longer
 * than they need be, nothing worse. */
static void follow_fence(struct fence *fence, const char *text, size_t at, size_t end)
{
    size_t start = at;
    at = ah_md_skip_markers(text, at, end, fence->mark == 0);
    if (at == end || (text[at] != '`' && text[at] != '~')) {
        return;
    }
    size_t len = run_length(text, at, end);
    if (fence->mark != 0) {
        if (text[at] == fence->mark && len >= fence->len && ah_md_is_blank(text, at + len, end)) {
            fence->mark = 0;
        }
    } else if (len >= 3 &&
               (text[at] == '~' || memchr(text + at + len, '`', end - at - len) == NULL)) {
        *fence = (struct fence){.mark = text[at], .len = len, .is_plain = at == start};
    }
}

static bool may_begin_list(char c)
{
    return c == '-' || c == '*' || c == '+' || is_digit(c);
}

/* The start of the next line that is not empty; `len` when that is not known. */
static size_t next_line(const char *text, size_t at, size_t len)
{
    while (at < len) {
        size_t end = ah_md_line_end(text, at, len);
        size_t first = at;
        while (first < end && is_space(text[first])) {
            first++;
        }
        if (first < end) {
            return at;
        }
        at = end + 1;
    }
    return len;
}

static void set_carry(struct ah_markdown_cut *cut, const struct fence *fence)
{
    cut->carry[0] = '\0';
    if (fence->mark != 0 && fence->len < AH_MARKDOWN_CARRY - 2) {
        memset(cut->carry, fence->mark, fence->len);
        cut->carry[fence->len] = '\n';
        cut->carry[fence->len + 1] = '\0';
    }
}

struct cutter {
    const char *text;
    size_t len;
    size_t piece;
    struct fence fence;
    bool has_text;
    bool has_list;
    size_t number; /* of the last item "12. " at the left margin; 0: none */
    char delimiter;
};

static size_t item_number(const char *text, size_t at, size_t end)
{
    size_t number = 0;
    while (at < end && is_digit(text[at]) && number < 1000000000) {
        number = number * 10 + (size_t)(text[at++] - '0');
    }
    return number;
}

/* Is the line at `at` an item at the left margin that can begin a list like the one it is in? */
static bool is_next_item(const struct cutter *c, size_t at)
{
    size_t marker = marker_length(c->text, at, c->len);
    size_t first = at + marker;
    while (first < c->len && is_space(c->text[first])) {
        first++;
    }
    if (marker == 0 || first == c->len || first == at + marker || c->text[first] == '\n') {
        return false; /* or not certain yet */
    }
    return !is_digit(c->text[at]) || (c->delimiter == c->text[at + marker - 1] && c->number > 0 &&
                                      item_number(c->text, at, c->len) == c->number + 1);
}

/* Reads the line [at, end), which has text. */
static void read_line(struct cutter *c, size_t at, size_t end)
{
    size_t first = at;
    while (is_space(c->text[first])) {
        first++;
    }
    size_t marker = marker_length(c->text, at, end);
    if (marker > 0 && is_digit(c->text[at]) && c->fence.mark == 0) {
        c->number = item_number(c->text, at, end);
        c->delimiter = c->text[at + marker - 1];
    }
    c->has_text = true;
    c->has_list = c->has_list || (first - at < 4 && may_begin_list(c->text[first]));
    follow_fence(&c->fence, c->text, at, end);
}

/* Is the line that begins at `next` the first of another piece? `gap`: empty lines are before it.
 */
static bool begins_piece(const struct cutter *c, size_t next, bool gap)
{
    if (!c->has_text || next >= c->len || next >= c->piece) {
        return false;
    }
    if (c->fence.mark != 0) {
        return !gap && c->fence.is_plain && c->fence.len < AH_MARKDOWN_CARRY - 2 &&
               next >= CODE_PIECE;
    }
    return is_next_item(c, next) ||
           (gap && !is_space(c->text[next]) && !(c->has_list && may_begin_list(c->text[next])));
}

/* In the middle of a line: behind a character. */
static size_t cut_line(const char *text, size_t at)
{
    size_t end = at;
    while (at > end - 4 && (text[at - 1] & 0xc0) == 0x80) {
        at--;
    }
    return at - (((unsigned char)text[at - 1] & 0xc0) == 0xc0);
}

bool ah_markdown_cut(const char *text, size_t len, size_t piece, struct ah_markdown_cut *ret_cut)
{
    struct cutter c = {.text = text, .len = len, .piece = piece};
    size_t at = 0;
    while (at < len && at < piece) {
        size_t end = ah_md_line_end(text, at, len);
        if (end == len || end >= piece) {
            break;
        }
        bool is_empty = next_line(text, at, end) == end;
        if (!is_empty) {
            read_line(&c, at, end);
        }
        size_t next = next_line(text, end + 1, len);
        bool gap = is_empty || next != end + 1;
        if (begins_piece(&c, next, gap)) {
            *ret_cut = (struct ah_markdown_cut){.len = next, .gap = gap};
            set_carry(ret_cut, &c.fence);
            return true;
        }
        at = next < len && next < piece ? next : end + 1;
        if (at != next) {
            break;
        }
    }
    if (len < piece) {
        return false;
    }
    at = at < piece / 2 ? cut_line(text, piece) : at;
    *ret_cut = (struct ah_markdown_cut){.len = at};
    set_carry(ret_cut, &c.fence);
    return true;
}

/* ---- preparing ---- */

/* "[ ] " or "[x] " */
static bool is_task_mark(const char *text, size_t at, size_t end)
{
    return at + 3 < end && strchr(" xX", text[at + 1]) != NULL && text[at + 2] == ']' &&
           is_space(text[at + 3]);
}

/* Does the line look like the one between a table's head and body? Then how many bars it has. */
static size_t count_rule_bars(const char *text, size_t at, size_t end)
{
    size_t bars = 0;
    for (; at < end; at++) {
        if (strchr("|-: \t>", text[at]) == NULL) {
            return 0;
        }
        bars += text[at] == '|';
    }
    return bars;
}

/* Where in the line [at, end) md4c has to be told off; SIZE_MAX: nowhere. */
static size_t find_trap(const char *text, size_t at, size_t end)
{
    size_t markers = 0;
    size_t first = at;
    for (; first < end; first++) {
        size_t len = marker_length(text, first, end);
        markers += len > 0 || text[first] == '>';
        if (markers > AH_MD_MARKERS) {
            return first;
        }
        if (len > 0) {
            first += len - 1;
        } else if (!is_space(text[first]) && text[first] != '>') {
            break;
        }
    }
    if (first < end && is_task_mark(text, first, end)) {
        first = ah_md_skip_markers(text, first + 3, end, false);
    }
    if (first < end && text[first] == '[') {
        return first; /* no definition */
    }
    size_t bars = count_rule_bars(text, at, end);
    if (bars > 0) {
        size_t before = at > 0 ? ah_md_line_start(text, at - 1) : at;
        if (bars > AH_MD_COLUMNS || at == 0 || !ah_md_has_bar(text, before, at - 1)) {
            return ah_md_skip_markers(text, at, end, false);
        }
    }
    return SIZE_MAX;
}

int ah_md_prepare(const char *text, size_t len, struct ah_buf *out)
{
    struct ah_text_filter filter;
    struct ah_buf clean;
    ah_buf_init(&clean, 0);
    ah_text_filter_init(&filter, AH_TEXT_CR_DROP);
    int rc = ah_text_filter_feed(&filter, text, len, &clean);
    rc = rc == 0 ? ah_text_filter_finish(&filter, &clean) : rc;
    for (size_t at = 0; at < clean.len && rc == 0;) {
        size_t end = ah_md_line_end(clean.data, at, clean.len);
        size_t next = end < clean.len ? end + 1 : end;
        size_t trap = find_trap(clean.data, at, end);
        size_t head = trap < end ? trap - at : 0;
        rc = ah_buf_add(out, clean.data + at, head);
        if (rc == 0 && trap < end) {
            rc = ah_buf_add(out, &(char){AH_MD_MARK}, 1);
        }
        rc = rc == 0 ? ah_buf_add(out, clean.data + at + head, next - at - head) : rc;
        at = next;
    }
    ah_buf_clear(&clean);
    return rc;
}
