#include "markdown_internal.h"

#include "text.h"
#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int ah_md_grow(void **items, size_t *cap, size_t count, size_t size)
{
    if (*items != NULL && count < *cap) {
        return 0;
    }
    size_t more = *cap < 16 ? 16 : *cap * 2;
    void *bigger = more < SIZE_MAX / size ? realloc(*items, more * size) : NULL;
    if (bigger == NULL) {
        return -ENOMEM;
    }
    *items = bigger;
    *cap = more;
    return 0;
}

/* ---- words ---- */

void ah_md_words_clear(struct ah_md_words *words)
{
    ah_buf_clear(&words->text);
    free(words->items);
    *words = (struct ah_md_words){0};
}

void ah_md_words_reset(struct ah_md_words *words)
{
    words->text.len = 0;
    words->count = 0;
    ah_md_words_begin(words);
}

void ah_md_words_begin(struct ah_md_words *words)
{
    words->last = 0;
    words->before = AH_MD_NOTHING;
}

static bool is_one_of(uint32_t c, const uint32_t *list)
{
    while (*list != 0 && *list != c) {
        list++;
    }
    return *list != 0;
}

/* Scripts without spaces between words. */
static bool is_ideographic(uint32_t c)
{
    return (c >= 0x2e80 && c <= 0xa4cf) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0xff01 && c <= 0xffee) || (c >= 0x20000 && c <= 0x3fffd);
}

bool ah_md_may_break(uint32_t before, uint32_t after)
{
    static const uint32_t opening[] = {0x3008, 0x300a, 0x300c, 0x300e, 0x3010, 0x3014,
                                       0x3016, 0xff08, 0xff3b, 0xff5b, 0};
    static const uint32_t closing[] = {
        0x3001, 0x3002, 0x3005, 0x3009, 0x300b, 0x300d, 0x300f, 0x3011, 0x3015, 0x3017,
        0x302a, 0x302b, 0x302c, 0x302d, 0x3099, 0x309a, 0x30fb, 0x30fc, 0xff01, 0xff09,
        0xff0c, 0xff0e, 0xff1a, 0xff1b, 0xff1f, 0xff3d, 0xff5d, 0xff9e, 0xff9f, 0};
    return is_ideographic(before) && is_ideographic(after) && !is_one_of(before, opening) &&
           !is_one_of(after, closing);
}

/* A new fragment, when the last one cannot take what comes. NULL: no memory. */
static struct ah_md_fragment *fragment_for(struct ah_md_words *words, uint8_t style, bool breaks)
{
    struct ah_md_fragment *last = words->count > 0 ? &words->items[words->count - 1] : NULL;
    uint8_t before = breaks && words->before == AH_MD_NOTHING ? AH_MD_BREAK : words->before;
    if (last != NULL && words->last != 0 && before == AH_MD_NOTHING && last->style == style) {
        return last;
    }
    if (ah_md_grow((void **)&words->items, &words->cap, words->count, sizeof *words->items) < 0) {
        return NULL;
    }
    last = &words->items[words->count++];
    *last = (struct ah_md_fragment){.start = words->text.len, .style = style, .before = before};
    words->before = AH_MD_NOTHING;
    return last;
}

int ah_md_words_add(struct ah_md_words *words, const char *text, size_t len, uint8_t style)
{
    for (size_t at = 0; at < len;) {
        char c = text[at];
        if (c == ' ' || c == '\t' || c == '\n') {
            if (words->before < AH_MD_SPACE && words->last != 0) {
                words->before = AH_MD_SPACE;
            }
            at++;
            continue;
        }
        if ((unsigned char)c < 0x20 || c == 0x7f) {
            at++;
            continue;
        }
        size_t width = 0;
        size_t used = ah_text_cluster(text + at, len - at, &width);
        uint32_t cp = 0;
        ah_utf8_decode(text + at, used, &cp);
        struct ah_md_fragment *into = fragment_for(words, style, ah_md_may_break(words->last, cp));
        if (into == NULL || ah_buf_add(&words->text, text + at, used) < 0) {
            return -ENOMEM;
        }
        into->len += used;
        into->width += width;
        words->last = cp;
        at += used;
    }
    return 0;
}

void ah_md_words_newline(struct ah_md_words *words)
{
    if (words->last != 0) {
        words->before = AH_MD_NEWLINE;
    }
}

int ah_md_words_copy(struct ah_md_words *words, const struct ah_md_words *from, size_t first,
                     size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        struct ah_md_fragment copy = from->items[i];
        int rc = ah_md_grow((void **)&words->items, &words->cap, words->count, sizeof copy);
        if (rc == 0) {
            rc = ah_buf_add(&words->text, from->text.data + copy.start, copy.len);
        }
        if (rc < 0) {
            return rc;
        }
        copy.start = words->text.len - copy.len;
        if (i == first && words->before != AH_MD_NOTHING) {
            copy.before = words->before;
        }
        words->items[words->count++] = copy;
        words->before = AH_MD_NOTHING;
        words->last = ' ';
    }
    return 0;
}

/* ---- lines ---- */

int ah_md_styled(struct ah_buf *out, const char *text, size_t len, uint8_t style, bool colour)
{
    static const struct {
        uint8_t style;
        char code[4];
    } codes[] = {{AH_MD_BOLD, "1"},
                 {AH_MD_DIM, "2"},
                 {AH_MD_ITALIC, "3"},
                 {AH_MD_STRIKE, "9"},
                 {AH_MD_CODE, "36"}};
    if (!colour || style == 0 || len == 0) {
        return ah_buf_add(out, text, len);
    }
    int rc = 0;
    const char *separator = "\033[";
    for (size_t i = 0; i < sizeof codes / sizeof *codes && rc == 0; i++) {
        if (style & codes[i].style) {
            rc = ah_buf_addf(out, "%s%s", separator, codes[i].code);
            separator = ";";
        }
    }
    rc = rc == 0 ? ah_buf_add_str(out, "m") : rc;
    rc = rc == 0 ? ah_buf_add(out, text, len) : rc;
    return rc == 0 ? ah_buf_add_str(out, "\033[0m") : rc;
}

void ah_md_lines_clear(struct ah_md_lines *lines)
{
    ah_buf_clear(&lines->bytes);
    free(lines->items);
    *lines = (struct ah_md_lines){0};
}

struct wrap {
    const struct ah_md_words *words;
    struct ah_md_lines *lines;
    size_t room;
    size_t column;
    uint8_t style;
    bool colour;
    bool is_open; /* there is a line to add to */
};

static int begin_line(struct wrap *wrap)
{
    struct ah_md_lines *lines = wrap->lines;
    int rc = ah_md_grow((void **)&lines->items, &lines->cap, lines->count, sizeof *lines->items);
    if (rc == 0) {
        lines->items[lines->count++] = (struct ah_md_line){.start = lines->bytes.len};
        wrap->is_open = true;
        wrap->column = 0;
    }
    return rc;
}

static int put(struct wrap *wrap, const char *text, size_t len, size_t width, uint8_t style)
{
    struct ah_md_line *line = &wrap->lines->items[wrap->lines->count - 1];
    int rc = ah_md_styled(&wrap->lines->bytes, text, len, style, wrap->colour);
    line->len = wrap->lines->bytes.len - line->start;
    line->width += width;
    wrap->column += width;
    return rc;
}

static const char *text_of(const struct wrap *wrap, const struct ah_md_fragment *fragment)
{
    return wrap->words->text.data + fragment->start;
}

/* A fragment of a word that is longer than a line, in parts. */
static int put_cut(struct wrap *wrap, const struct ah_md_fragment *fragment)
{
    const char *text = text_of(wrap, fragment);
    size_t done = 0;
    size_t width = 0;
    int rc = 0;
    for (size_t at = 0; at < fragment->len && rc == 0;) {
        size_t columns = 0;
        size_t used = ah_text_cluster(text + at, fragment->len - at, &columns);
        if (wrap->column + width + columns > wrap->room && wrap->column + width > 0) {
            rc = put(wrap, text + done, at - done, width, fragment->style | wrap->style);
            rc = rc == 0 ? begin_line(wrap) : rc;
            done = at;
            width = 0;
        }
        width += columns;
        at += used;
    }
    return rc == 0
               ? put(wrap, text + done, fragment->len - done, width, fragment->style | wrap->style)
               : rc;
}

/* A space shows no style but a line through it. */
static int put_space(struct wrap *wrap, const struct ah_md_fragment *next)
{
    return put(wrap, " ", 1, 1, next[-1].style & next->style & AH_MD_STRIKE);
}

static bool has_address(const struct wrap *wrap, const struct ah_md_fragment *word, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (memmem(text_of(wrap, word + i), word[i].len, "://", 3) != NULL) {
            return true;
        }
    }
    return false;
}

static int put_word(struct wrap *wrap, const struct ah_md_fragment *word, size_t count,
                    bool keep_addresses)
{
    size_t width = 0;
    for (size_t i = 0; i < count; i++) {
        width += word[i].width;
    }
    size_t gap = word->before == AH_MD_SPACE && wrap->is_open ? 1 : 0;
    bool fits =
        wrap->is_open && word->before != AH_MD_NEWLINE && wrap->column + gap + width <= wrap->room;
    int rc = 0;
    if (!fits) {
        rc = begin_line(wrap);
    } else if (gap > 0) {
        rc = put_space(wrap, word);
    }
    bool is_cut = width > wrap->room && !(keep_addresses && has_address(wrap, word, count));
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = is_cut ? put_cut(wrap, word + i)
                    : put(wrap, text_of(wrap, word + i), word[i].len, word[i].width,
                          word[i].style | wrap->style);
    }
    return rc;
}

int ah_md_wrap(const struct ah_md_words *words, size_t first, size_t count, size_t room,
               uint8_t style, bool colour, bool keep_addresses, struct ah_md_lines *lines)
{
    struct wrap wrap = {
        .words = words, .lines = lines, .room = room, .style = style, .colour = colour};
    size_t end = first + count;
    int rc = 0;
    for (size_t at = first; at < end && rc == 0;) {
        size_t next = at + 1;
        while (next < end && words->items[next].before == AH_MD_NOTHING) {
            next++;
        }
        rc = put_word(&wrap, words->items + at, next - at, keep_addresses);
        at = next;
    }
    return rc;
}
