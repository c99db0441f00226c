/*
 * How much of an unfinished piece can be shown: everything up to the last place between words where
 * nothing is open that later text could close.
 *
 * This follows emphasis, code spans and links only as far as they are simple; at the first doubt
 * the rest of the paragraph waits for its end. So it is no second parser: md4c alone says what is
 * shown.
 */
#include "markdown_internal.h"

#include "utf8.h"

#include <ctype.h>
#include <string.h>

/* ---- the last line ---- */

/* Only marks so far: what they are depends on what follows. */
static bool is_undecided(const char *text, size_t at, size_t end)
{
    size_t first = ah_md_skip_markers(text, at, end, true);
    if (end - first >= 3 &&
        (memcmp(text + first, "```", 3) == 0 || memcmp(text + first, "~~~", 3) == 0)) {
        return true;
    }
    while (first < end && strchr(" \t>-+*_=#`~|:.)\\0123456789\1", text[first]) != NULL) {
        first++;
    }
    size_t rest = end - first;
    if (rest > 0 && text[first] == '[') { /* "[ ] ", perhaps a task */
        size_t mark = 1;
        mark += mark < rest && strchr(" xX", text[first + mark]) != NULL;
        mark += mark < rest && text[first + mark] == ']';
        while (mark < rest && (text[first + mark] == ' ' || text[first + mark] == '\t')) {
            mark++;
        }
        return mark == rest;
    }
    return rest == 0;
}

size_t ah_md_decided(const char *text, size_t len)
{
    size_t start = ah_md_line_start(text, len);
    return is_undecided(text, start, len) ? start : len;
}

/* ---- inside a paragraph ---- */

#define OPEN_MAX 32

struct scan {
    const char *text;
    size_t start; /* of the line */
    size_t at;
    size_t end;
    size_t safe;
    size_t depth;
    struct {
        char mark;
        size_t len;
    } open[OPEN_MAX];
};

enum kind { SPACE, PUNCTUATION, LETTER, UNSURE };

static bool is_ascii_punct(char c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

/* Letters for certain; most of what is no punctuation in other scripts is not listed. */
static bool is_known_letter(uint32_t c)
{
    return (c >= 0xc0 && c <= 0x24f && c != 0xd7 && c != 0xf7) || (c >= 0x391 && c <= 0x3e1) ||
           (c >= 0x400 && c <= 0x481) || (c >= 0x3041 && c <= 0x3096) ||
           (c >= 0x30a1 && c <= 0x30fa) || (c >= 0x4e00 && c <= 0x9fff) ||
           (c >= 0xac00 && c <= 0xd7a3);
}

static enum kind kind_at(const struct scan *scan, size_t at)
{
    char c = scan->text[at];
    if (c == AH_MD_MARK) {
        return UNSURE;
    }
    if ((unsigned char)c < 0x80) {
        return c == ' ' || c == '\t' || c == '\n' ? SPACE
               : is_ascii_punct(c)                ? PUNCTUATION
                                                  : LETTER;
    }
    uint32_t cp = 0;
    ah_utf8_decode(scan->text + at, scan->end - at, &cp);
    return is_known_letter(cp) ? LETTER : UNSURE;
}

static enum kind kind_before(const struct scan *scan, size_t at)
{
    if (at == scan->start) {
        return SPACE;
    }
    at--;
    while (at > scan->start && (scan->text[at] & 0xc0) == 0x80) {
        at--;
    }
    return kind_at(scan, at);
}

/* Is a run between these neighbours beside a word on the `inner` side? 1, 0, or -1: unsure. */
static int flanks(enum kind inner, enum kind outer)
{
    if (inner == SPACE) {
        return 0;
    }
    if (inner == LETTER || ((outer == SPACE || outer == PUNCTUATION) && inner == PUNCTUATION)) {
        return 1;
    }
    if (inner == PUNCTUATION) {
        return outer == LETTER ? 0 : -1;
    }
    return -1; /* a character that may be a space, too */
}

static size_t run_at(const struct scan *scan, size_t at)
{
    size_t len = 1;
    while (at + len < scan->end && scan->text[at + len] == scan->text[at]) {
        len++;
    }
    return len;
}

static bool is_open(const struct scan *scan, char mark)
{
    for (size_t i = 0; i < scan->depth; i++) {
        if (scan->open[i].mark == mark) {
            return true;
        }
    }
    return false;
}

static bool push(struct scan *scan, char mark, size_t len)
{
    if (scan->depth == OPEN_MAX) {
        return false;
    }
    scan->open[scan->depth].mark = mark;
    scan->open[scan->depth].len = len;
    scan->depth++;
    return true;
}

static bool pop(struct scan *scan, char mark, size_t len)
{
    if (scan->depth == 0 || scan->open[scan->depth - 1].mark != mark ||
        scan->open[scan->depth - 1].len != len) {
        return false;
    }
    scan->depth--;
    return true;
}

/* Each of the following moves `at` behind what it has understood; false: no further. */

static bool scan_emphasis(struct scan *scan)
{
    char mark = scan->text[scan->at];
    size_t len = run_at(scan, scan->at);
    size_t behind = scan->at + len;
    if (behind == scan->end) {
        return false;
    }
    enum kind before = kind_before(scan, scan->at);
    enum kind after = kind_at(scan, behind);
    int left = flanks(after, before);
    int right = flanks(before, after);
    if (left < 0 || right < 0) {
        return false;
    }
    bool opens = left > 0;
    bool closes = right > 0;
    if (mark == '_') {
        opens = left > 0 && (right == 0 || before == PUNCTUATION);
        closes = right > 0 && (left == 0 || after == PUNCTUATION);
    } else if (mark == '~') {
        opens = after != SPACE;
        closes = before != SPACE;
    }
    scan->at = behind;
    if (closes && is_open(scan, mark)) {
        return pop(scan, mark, len);
    }
    return !opens || push(scan, mark, len);
}

static bool scan_code(struct scan *scan)
{
    size_t len = run_at(scan, scan->at);
    size_t at = scan->at + len;
    while (at < scan->end) {
        if (scan->text[at] != '`') {
            at++;
            continue;
        }
        size_t run = run_at(scan, at);
        at += run;
        if (run == len && at < scan->end) {
            scan->at = at;
            return true;
        }
    }
    return false;
}

/* The end of brackets. Of links, those with nothing but an address. */
static bool scan_bracket(struct scan *scan)
{
    scan->at++;
    if (!is_open(scan, '[')) {
        return true;
    }
    if (!pop(scan, '[', 1) || scan->at == scan->end) {
        return false;
    }
    if (scan->text[scan->at] != '(') {
        return true;
    }
    size_t at = scan->at + 1;
    while (at < scan->end && (unsigned char)scan->text[at] > ' ' &&
           strchr("()<>\"'\\`", scan->text[at]) == NULL) {
        at++;
    }
    if (at == scan->end || scan->text[at] != ')') {
        return false;
    }
    scan->at = at + 1;
    return true;
}

/* "http:" and the like at `at`? */
static bool has_scheme(const char *text, size_t at, size_t end)
{
    size_t start = at;
    while (at < end && (isalnum((unsigned char)text[at]) || strchr("+-.", text[at]) != NULL)) {
        at++;
    }
    return at < end && text[at] == ':' && isalpha((unsigned char)text[start]) && at - start >= 2 &&
           at - start <= 32;
}

/* "<": an address, or nothing. */
static bool scan_angle(struct scan *scan)
{
    size_t at = scan->at + 1;
    while (at < scan->end && (unsigned char)scan->text[at] > ' ' &&
           strchr("<>`@[]", scan->text[at]) == NULL) {
        at++;
    }
    if (at == scan->end || strchr("`@[]", scan->text[at]) != NULL) {
        return false;
    }
    bool is_address = scan->text[at] == '>' && has_scheme(scan->text, scan->at + 1, at);
    scan->at = is_address ? at + 1 : scan->at + 1;
    return true;
}

static bool scan_escape(struct scan *scan)
{
    if (scan->at + 1 == scan->end) {
        return false;
    }
    scan->at += is_ascii_punct(scan->text[scan->at + 1]) ? 2 : 1;
    return true;
}

static bool scan_space(struct scan *scan)
{
    bool is_hard_break =
        scan->text[scan->at] == '\n' && scan->at > scan->start && scan->text[scan->at - 1] == '\\';
    if (scan->depth == 0 && !is_hard_break) {
        scan->safe = scan->at;
    }
    scan->at++;
    if (scan->text[scan->at - 1] == '\n') {
        scan->at = ah_md_skip_markers(scan->text, scan->at, scan->end, false);
        scan->start = scan->at; /* what is before it is white space for md4c */
    }
    return true;
}

static bool scan_other(struct scan *scan, uint32_t *last)
{
    uint32_t cp = 0;
    size_t used = ah_utf8_decode(scan->text + scan->at, scan->end - scan->at, &cp);
    if (used == 0) {
        return false;
    }
    if (scan->depth == 0 && ah_md_may_break(*last, cp)) {
        scan->safe = scan->at;
    }
    *last = cp;
    scan->at += used;
    return true;
}

static bool scan_step(struct scan *scan, uint32_t *last)
{
    char c = scan->text[scan->at];
    if ((unsigned char)c >= 0x80) {
        return scan_other(scan, last);
    }
    *last = 0;
    switch (c) {
    case ' ':
    case '\t':
    case '\n':
        return scan_space(scan);
    case '\\':
        return scan_escape(scan);
    case '`':
        return scan_code(scan);
    case '<':
        return scan_angle(scan);
    case '[':
        scan->at++;
        return push(scan, '[', 1);
    case ']':
        return scan_bracket(scan);
    case '*':
    case '_':
    case '~':
        return scan_emphasis(scan);
    default:
        scan->at++;
        return true;
    }
}

/* "[ ] " at the start of an item is no link. */
static size_t skip_task_mark(const char *text, size_t at, size_t end)
{
    bool is_task = end - at > 3 && text[at] == '[' && strchr(" xX", text[at + 1]) != NULL &&
                   text[at + 2] == ']';
    return is_task ? at + 3 : at;
}

/* `start`: of the paragraph's first line. */
static size_t scan_paragraph(const char *text, size_t len, size_t start)
{
    size_t at = ah_md_skip_markers(text, start, len, true);
    at = skip_task_mark(text, at, len);
    struct scan scan = {.text = text, .start = at, .at = at, .end = len, .safe = start};
    uint32_t last = 0;
    while (scan.at < scan.end && scan_step(&scan, &last)) {
    }
    return scan.safe;
}

/* Does the text end in an empty line? One with quotes' marks only when they surely are such: after
 * four spaces they may be text. */
static bool ends_blank(const char *text, size_t len)
{
    if (len == 0 || text[len - 1] != '\n') {
        return false;
    }
    size_t spaces = 0;
    for (size_t at = ah_md_line_start(text, len - 1); at < len - 1; at++) {
        if (text[at] == '>' && spaces < 4) {
            spaces = 0;
        } else if (text[at] == ' ') {
            spaces++;
        } else if (text[at] == '\t') {
            spaces += 4;
        } else {
            return false;
        }
    }
    return true;
}

/* A first line that may become the head of a table: with nothing certain behind it. */
static bool may_be_table(const char *text, size_t len, size_t start)
{
    size_t end = ah_md_line_end(text, start, len);
    if (end + 1 < len) {
        return false;
    }
    size_t first = ah_md_skip_markers(text, start, end, true);
    return ah_md_has_bar(text, start, end) || (end == len && end - first < AH_MD_BAR);
}

/* Nothing but what may open a span that has its text on the next line? */
static bool is_opening(const char *text, size_t at, size_t end)
{
    at = ah_md_skip_markers(text, at, end, true);
    bool is_fence = end - at >= 3 && memcmp(text + at, "```", 3) == 0;
    bool is_empty = at == end;
    while (at < end && strchr("`[]!\\ \t\1", text[at]) != NULL) {
        at++;
    }
    return at == end && !is_fence && !is_empty;
}

/* The line in which the leaf block begins that has its first text at `first`; no line before
 * `before_first` is part of it. */
static size_t leaf_start(const char *text, size_t before_first, size_t first)
{
    size_t start = ah_md_line_start(text, first);
    while (start > before_first) {
        size_t before = ah_md_line_start(text, start - 1);
        if (ah_md_is_blank(text, before, start - 1) || !is_opening(text, before, start - 1)) {
            break;
        }
        start = before;
    }
    return start;
}

size_t ah_md_safe(const char *text, size_t len, enum ah_md_leaf leaf, size_t behind, size_t first)
{
    bool whole_lines = len > 0 && text[len - 1] == '\n';
    size_t start = leaf_start(text, behind, first);
    if (leaf == AH_MD_NO_LEAF || ends_blank(text, len)) {
        return len;
    }
    switch (leaf) {
    case AH_MD_HEADING:
        return whole_lines ? len : start;
    case AH_MD_CODE_BLOCK:
        return whole_lines ? len : ah_md_line_start(text, len);
    case AH_MD_PARAGRAPH:
        return may_be_table(text, len, start) ? start : scan_paragraph(text, len, start);
    default:
        return start;
    }
}
