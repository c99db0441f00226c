/* Text inside a block: its styles, entities, links. */
#include "markdown_block.h"

#include "text.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

struct ah_md_words *ah_md_words_of(struct ah_md_block *b)
{
    return b->inside == AH_MD_TABLE ? &b->table.words : &b->words;
}

uint8_t ah_md_style_of(const struct ah_md_block *b)
{
    static const uint8_t styles[SPANS] = {AH_MD_BOLD, AH_MD_ITALIC, AH_MD_CODE, AH_MD_STRIKE};
    uint8_t style = 0;
    for (size_t i = 0; i < SPANS; i++) {
        style |= b->spans[i] > 0 ? styles[i] : 0;
    }
    return style;
}

void ah_md_add(struct ah_md_block *b, const char *text, size_t len, uint8_t style)
{
    ah_md_check(b, ah_md_words_add(ah_md_words_of(b), text, len, style));
}

/* A character by its number: cleaned like any other. */
static void add_code_point(struct ah_md_block *b, unsigned long cp, uint8_t style)
{
    char bytes[AH_UTF8_MAX];
    struct ah_buf clean;
    struct ah_text_filter filter;
    bool is_valid = cp > 0 && cp <= 0x10ffff && (cp < 0xd800 || cp > 0xdfff);
    size_t len = ah_utf8_encode(is_valid ? (uint32_t)cp : AH_UTF8_INVALID, bytes);
    ah_buf_init(&clean, 0);
    ah_text_filter_init(&filter, AH_TEXT_CR_DROP);
    ah_md_check(b, ah_text_filter_feed(&filter, bytes, len, &clean));
    ah_md_add(b, ah_buf_str(&clean), clean.len, style);
    ah_buf_clear(&clean);
}

void ah_md_add_entity(struct ah_md_block *b, const char *text, size_t len, uint8_t style)
{
    static const struct {
        const char *name;
        unsigned long cp;
    } known[] = {
        {"&amp;", '&'},      {"&lt;", '<'},        {"&gt;", '>'},       {"&quot;", '"'},
        {"&apos;", '\''},    {"&nbsp;", 0xa0},     {"&copy;", 0xa9},    {"&reg;", 0xae},
        {"&deg;", 0xb0},     {"&times;", 0xd7},    {"&ndash;", 0x2013}, {"&mdash;", 0x2014},
        {"&lsquo;", 0x2018}, {"&rsquo;", 0x2019},  {"&ldquo;", 0x201c}, {"&rdquo;", 0x201d},
        {"&bull;", 0x2022},  {"&hellip;", 0x2026}, {"&larr;", 0x2190},  {"&uarr;", 0x2191},
        {"&rarr;", 0x2192},  {"&darr;", 0x2193},   {"&le;", 0x2264},    {"&ge;", 0x2265},
    };
    char number[16] = "";
    if (len > 3 && len < sizeof number && text[1] == '#') {
        memcpy(number, text + 2, len - 3);
        bool is_hex = number[0] == 'x' || number[0] == 'X';
        add_code_point(b, strtoul(number + is_hex, NULL, is_hex ? 16 : 10), style);
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].name) == len && memcmp(known[i].name, text, len) == 0) {
            add_code_point(b, known[i].cp, style);
            return;
        }
    }
    ah_md_add(b, text, len, style);
}

/* ---- spans ---- */

static enum ah_md_span span_of(MD_SPANTYPE type)
{
    switch (type) {
    case MD_SPAN_STRONG:
        return BOLD;
    case MD_SPAN_EM:
        return ITALIC;
    case MD_SPAN_CODE:
        return CODE;
    case MD_SPAN_DEL:
        return STRIKE;
    default:
        return SPANS;
    }
}

/* Without styles: what would be missed most keeps its marks. */
static void put_marks(struct ah_md_block *b, enum ah_md_span span)
{
    if (!b->options->colour && span == CODE) {
        ah_md_add(b, "`", 1, 0);
    } else if (!b->options->colour && span == STRIKE) {
        ah_md_add(b, "~~", 2, 0);
    }
}

/* The address of a link or image behind its text, unless it is its text. */
static void put_address(struct ah_md_block *b, const MD_ATTRIBUTE *address, size_t start)
{
    struct ah_md_words *words = ah_md_words_of(b);
    const char *text = ah_buf_str(&words->text) + start;
    size_t len = words->text.len - start;
    size_t tail = address->size >= len ? address->size - len : 0;
    bool is_same = address->size >= len && len > 0 &&
                   memcmp(address->text + tail, text, len) == 0 &&
                   (tail == 0 || (tail == 7 && memcmp(address->text, "mailto:", 7) == 0));
    if (address->size == 0 || is_same) {
        return;
    }
    ah_md_add(b, " (", 2, AH_MD_DIM);
    for (size_t i = 0; address->substr_offsets[i] < address->size; i++) {
        size_t from = address->substr_offsets[i];
        size_t count = address->substr_offsets[i + 1] - from;
        if (address->substr_types[i] == MD_TEXT_ENTITY) {
            ah_md_add_entity(b, address->text + from, count, AH_MD_DIM);
        } else {
            ah_md_add(b, address->text + from, count, AH_MD_DIM);
        }
    }
    ah_md_add(b, ")", 1, AH_MD_DIM);
}

int ah_md_enter_span(MD_SPANTYPE type, void *detail, void *user)
{
    struct ah_md_block *b = user;
    (void)detail;
    if (b->probe) {
        return 0;
    }
    enum ah_md_span span = span_of(type);
    if (span < SPANS) {
        put_marks(b, span);
        b->spans[span]++;
    } else if (type == MD_SPAN_A) {
        b->link_start = ah_md_words_of(b)->text.len;
    } else if (type == MD_SPAN_IMG) {
        b->image_start = ah_md_words_of(b)->text.len;
    }
    return b->rc;
}

int ah_md_leave_span(MD_SPANTYPE type, void *detail, void *user)
{
    struct ah_md_block *b = user;
    if (b->probe) {
        return 0;
    }
    enum ah_md_span span = span_of(type);
    if (span < SPANS) {
        b->spans[span]--;
        put_marks(b, span);
    } else if (type == MD_SPAN_A) {
        put_address(b, &((MD_SPAN_A_DETAIL *)detail)->href, b->link_start);
    } else if (type == MD_SPAN_IMG) {
        put_address(b, &((MD_SPAN_IMG_DETAIL *)detail)->src, b->image_start);
    }
    return b->rc;
}
