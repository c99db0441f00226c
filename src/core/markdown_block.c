/* md4c's callbacks: what each block becomes. */
#include "markdown_internal.h"

#include "text.h"
#include "utf8.h"

#include <errno.h>
#include <limits.h>
#include <md4c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A callback has seen enough. Negative: md4c takes only that for an end everywhere. */
#define STOPPED INT_MIN
#define NOWHERE SIZE_MAX
#define RULE_MAX 80 /* columns */

#define FLAGS (MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS | MD_FLAG_NOHTML)

struct container {
    char marker[16]; /* of an item */
    size_t width;    /* 0: deeper than is indented */
    bool is_quote;
    bool is_used; /* a line begins with it */
};

struct list {
    bool is_ordered;
    unsigned next;
    char delimiter;
};

enum span { BOLD, ITALIC, CODE, STRIKE, SPANS };

struct block {
    const char *text;
    size_t len;
    size_t stop; /* text from here on is not shown */
    bool probe;  /* nothing is shown: only the last leaf is looked for */
    const struct ah_markdown_options *options;
    struct ah_buf *out;
    size_t base;    /* where our output begins in `out` */
    size_t certain; /* end of the output that there is text for; what follows may yet change */

    struct container containers[AH_MD_DEPTH];
    size_t container_count; /* may be more than there is room for */
    struct list lists[AH_MD_DEPTH];
    size_t list_count;

    struct ah_md_words words;
    struct ah_md_lines lines;
    struct ah_md_table table;
    size_t column;       /* of the table's row */
    size_t cell_first;   /* fragment */
    size_t spans[SPANS]; /* how many of each are open */
    size_t link_start;   /* where the text of a link begins, and of an image */
    size_t image_start;
    struct ah_buf code; /* the line of a code block */
    size_t code_breaks; /* line breaks before it */
    bool code_begun;

    enum ah_md_leaf inside; /* the block that text now is in */
    enum ah_md_leaf leaf;   /* the last one that had text, and where that began */
    size_t leaf_first;
    size_t leaf_behind; /* the line behind the text before it */
    bool leaf_begun;
    bool gap;  /* an empty line before it */
    size_t at; /* where the text read last ended */
    int rc;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Keeps the first error; md4c is told to stop by every callback's result. */
static void check(struct block *b, int rc)
{
    if (rc < 0 && b->rc == 0) {
        b->rc = rc;
    }
}

static void put(struct block *b, const char *text, size_t len, uint8_t style)
{
    check(b, ah_md_styled(b->out, text, len, style, b->options->colour));
}

/* ---- lines ---- */

static size_t prefix_width(const struct block *b)
{
    size_t width = 0;
    for (size_t i = 0; i < least(b->container_count, AH_MD_DEPTH); i++) {
        width += b->containers[i].width;
    }
    return width;
}

static size_t room(const struct block *b)
{
    return b->options->width - prefix_width(b);
}

/* What a line of the blocks that are open begins with. */
static void put_prefix(struct block *b)
{
    for (size_t i = 0; i < least(b->container_count, AH_MD_DEPTH); i++) {
        struct container *c = &b->containers[i];
        if (c->width > 0 && c->is_quote) {
            put(b, "│", sizeof "│" - 1, AH_MD_DIM);
            put(b, " ", 1, 0);
        } else if (c->width > 0 && !c->is_used) {
            put(b, c->marker, strlen(c->marker), 0);
        } else {
            for (size_t n = 0; n < c->width; n++) {
                put(b, " ", 1, 0);
            }
        }
        c->is_used = true;
    }
}

static void put_newline(struct block *b)
{
    while (b->out->len > b->base && b->out->data[b->out->len - 1] == ' ') {
        b->out->len--;
    }
    put(b, "\n", 1, 0);
}

/* An empty line between two blocks; blocks that begin below it do not show in it. */
static void put_gap(struct block *b)
{
    size_t all = b->container_count;
    size_t used = 0;
    while (used < least(all, AH_MD_DEPTH) && b->containers[used].is_used) {
        used++;
    }
    b->container_count = used;
    put_prefix(b);
    put_newline(b);
    b->container_count = all;
}

static void begin_output(struct block *b)
{
    if (b->gap && b->out->len > b->base) {
        put_gap(b);
    }
    b->gap = false;
}

/* Writes the lines; the last one stays open. */
static void put_lines(struct block *b)
{
    for (size_t i = 0; i < b->lines.count && b->rc == 0; i++) {
        const struct ah_md_line *line = &b->lines.items[i];
        if (i > 0) {
            put_newline(b);
        }
        put_prefix(b);
        if (line->len > 0) {
            put(b, b->lines.bytes.data + line->start, line->len, 0);
        }
    }
    b->lines.count = 0;
    b->lines.bytes.len = 0;
    if (b->leaf_begun) { /* not only an address */
        b->certain = b->out->len;
    }
}

static void put_rule(struct block *b)
{
    put_prefix(b);
    for (size_t i = least(room(b), RULE_MAX); i > 0; i--) {
        put(b, "─", sizeof "─" - 1, 0);
    }
    put_newline(b);
}

/* ---- where we are in the source ---- */

static size_t line_behind(const struct block *b, size_t at)
{
    return at == NOWHERE ? 0 : ah_md_line_end(b->text, at, b->len) + 1;
}

static bool is_fence(const char *text, size_t at, size_t end)
{
    at = ah_md_skip_markers(text, at, end, false);
    return at < end && (text[at] == '`' || text[at] == '~');
}

/* Is there an empty line between the text before and the block whose first text is in the line at
 * `limit`? Empty lines at the start of a code block are in it. */
static bool has_gap(const struct block *b, size_t limit)
{
    size_t at = line_behind(b, b->at);
    if (b->leaf == AH_MD_CODE_BLOCK && at < limit) { /* the fence that closed it */
        size_t end = ah_md_line_end(b->text, at, b->len);
        at = is_fence(b->text, at, end) ? end + 1 : at;
    }
    while (at < limit) {
        size_t end = ah_md_line_end(b->text, at, b->len);
        if (ah_md_is_blank(b->text, at, end)) {
            return b->at != NOWHERE;
        }
        if (b->inside == AH_MD_CODE_BLOCK) {
            return false;
        }
        at = end + 1;
    }
    return false;
}

/* The first text of a leaf block. */
static void begin_leaf(struct block *b, size_t first)
{
    size_t start = ah_md_line_start(b->text, first);
    b->leaf_begun = true;
    b->leaf_first = first;
    b->leaf_behind = line_behind(b, b->at);
    b->gap = has_gap(b, start);
    b->leaf = b->inside;
}

/* "# Title", or a line below it? Tells the level; 0: underlined. */
static size_t heading_level(const struct block *b)
{
    size_t start = ah_md_line_start(b->text, b->leaf_first);
    size_t end = ah_md_line_end(b->text, start, b->len);
    size_t at = ah_md_skip_markers(b->text, start, end, true);
    size_t count = 0;
    while (at + count < end && b->text[at + count] == '#') {
        count++;
    }
    bool ends = at + count < end && (b->text[at + count] == ' ' || b->text[at + count] == '\t');
    return count <= 6 && ends ? count : 0;
}

/* ---- text ---- */

static struct ah_md_words *words_of(struct block *b)
{
    return b->inside == AH_MD_TABLE ? &b->table.words : &b->words;
}

static uint8_t style_of(const struct block *b)
{
    static const uint8_t styles[SPANS] = {AH_MD_BOLD, AH_MD_ITALIC, AH_MD_CODE, AH_MD_STRIKE};
    uint8_t style = 0;
    for (size_t i = 0; i < SPANS; i++) {
        style |= b->spans[i] > 0 ? styles[i] : 0;
    }
    return style;
}

static void add(struct block *b, const char *text, size_t len, uint8_t style)
{
    check(b, ah_md_words_add(words_of(b), text, len, style));
}

/* A character by its number: cleaned like any other. */
static void add_code_point(struct block *b, unsigned long cp, uint8_t style)
{
    char bytes[AH_UTF8_MAX];
    struct ah_buf clean;
    struct ah_text_filter filter;
    bool is_valid = cp > 0 && cp <= 0x10ffff && (cp < 0xd800 || cp > 0xdfff);
    size_t len = ah_utf8_encode(is_valid ? (uint32_t)cp : AH_UTF8_INVALID, bytes);
    ah_buf_init(&clean, 0);
    ah_text_filter_init(&filter, AH_TEXT_CR_DROP);
    check(b, ah_text_filter_feed(&filter, bytes, len, &clean));
    add(b, ah_buf_str(&clean), clean.len, style);
    ah_buf_clear(&clean);
}

/* "&amp;"; names that are not known stay as they are. */
static void add_entity(struct block *b, const char *text, size_t len, uint8_t style)
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
    add(b, text, len, style);
}

static void add_code(struct block *b, const char *text, size_t len)
{
    const char *mark = memchr(text, AH_MD_MARK, len);
    size_t head = mark != NULL ? (size_t)(mark - text) : len;
    check(b, ah_buf_add(&b->code, text, head));
    if (mark != NULL) {
        add_code(b, mark + 1, len - head - 1);
    }
}

/* A line of a code block has ended. Those that are empty wait for one that is not. */
static void end_code_line(struct block *b)
{
    if (b->code.len > 0) {
        if (!b->code_begun) {
            begin_output(b);
        }
        for (size_t i = 0; b->code_begun && i < b->code_breaks; i++) {
            if (i > 0) {
                put_prefix(b);
            }
            put_newline(b);
        }
        put_prefix(b);
        put(b, "  ", 2, 0);
        put(b, ah_buf_str(&b->code), b->code.len, AH_MD_CODE);
        b->certain = b->out->len;
        b->code.len = 0;
        b->code_begun = true;
        b->code_breaks = 0;
    }
    b->code_breaks++;
}

/* Shows the words of a paragraph or heading; its last line stays open. */
static bool put_words(struct block *b)
{
    if (b->words.count == 0) {
        return false;
    }
    bool is_bold = b->leaf_begun && b->leaf == AH_MD_HEADING && heading_level(b) > 0;
    begin_output(b);
    check(b, ah_md_wrap(&b->words, 0, b->words.count, room(b), is_bold ? AH_MD_BOLD : 0,
                        b->options->colour, true, &b->lines));
    put_lines(b);
    ah_md_words_reset(&b->words);
    return true;
}

static void put_table(struct block *b)
{
    check(b, ah_md_table_lines(&b->table, room(b), b->options->colour, &b->lines));
    if (b->lines.count > 0) {
        begin_output(b);
        put_lines(b);
        put_newline(b);
    }
}

/* The block that text was in is over, if there was one. */
static void end_leaf(struct block *b)
{
    if (b->inside == AH_MD_TABLE) {
        return; /* its cells are no blocks of their own */
    }
    if (put_words(b)) {
        put_newline(b);
    }
    b->leaf_begun = false;
    b->gap = false;
}

static int text_in(struct block *b, MD_TEXTTYPE type, const char *text, size_t len)
{
    if (b->probe) {
        return 0;
    }
    if (b->inside == AH_MD_CODE_BLOCK) {
        if (len == 1 && text[0] == '\n') {
            end_code_line(b);
        } else {
            add_code(b, text, len);
        }
    } else if (type == MD_TEXT_BR) {
        ah_md_words_newline(words_of(b));
    } else if (type == MD_TEXT_SOFTBR) {
        add(b, " ", 1, 0);
    } else if (type == MD_TEXT_ENTITY) {
        add_entity(b, text, len, style_of(b));
    } else {
        add(b, text, len, style_of(b));
    }
    return b->rc;
}

static int on_text(MD_TEXTTYPE type, const MD_CHAR *text, MD_SIZE size, void *user)
{
    struct block *b = user;
    size_t len = size;
    if (text < b->text || text >= b->text + b->len) {
        return text_in(b, type, text, len); /* a line break or indentation of md4c's own */
    }
    size_t at = (size_t)(text - b->text);
    if (at >= b->stop) {
        if (b->leaf_begun) {
            put_words(b);
        }
        return b->rc < 0 ? b->rc : STOPPED;
    }
    if (!b->leaf_begun) {
        begin_leaf(b, at);
        if (b->leaf == AH_MD_HEADING && !b->options->colour && !b->probe) {
            add(b, "######", heading_level(b), 0);
            add(b, " ", 1, 0);
        }
    }
    len = least(len, b->stop - at);
    b->at = at + len;
    int rc = text_in(b, type, text, len);
    if (rc == 0 && len < size) {
        put_words(b);
        rc = b->rc < 0 ? b->rc : STOPPED;
    }
    return rc;
}

/* ---- blocks ---- */

static struct list *top_list(struct block *b)
{
    return b->list_count > 0 && b->list_count <= AH_MD_DEPTH ? &b->lists[b->list_count - 1] : NULL;
}

static void push_list(struct block *b, struct list list)
{
    if (b->list_count < AH_MD_DEPTH) {
        b->lists[b->list_count] = list;
    }
    b->list_count++;
}

/* Half of the width at most is indentation. */
static void push_container(struct block *b, struct container container)
{
    if (b->container_count < AH_MD_DEPTH) {
        if (prefix_width(b) + container.width > b->options->width / 2) {
            container.width = 0;
        }
        b->containers[b->container_count] = container;
    }
    b->container_count++;
}

static void push_item(struct block *b, const MD_BLOCK_LI_DETAIL *detail)
{
    struct container item = {0};
    struct list *list = top_list(b);
    if (detail->is_task) {
        snprintf(item.marker, sizeof item.marker, "[%c] ", detail->task_mark == ' ' ? ' ' : 'x');
    } else if (list != NULL && list->is_ordered) {
        snprintf(item.marker, sizeof item.marker, "%u%c ", list->next, list->delimiter);
    } else {
        snprintf(item.marker, sizeof item.marker, "• ");
    }
    if (list != NULL) {
        list->next++;
    }
    item.width = ah_text_width(item.marker, strlen(item.marker));
    push_container(b, item);
}

/* An item without text shows its marker. */
static void pop_item(struct block *b)
{
    if (b->container_count <= AH_MD_DEPTH && !b->probe) {
        const struct container *item = &b->containers[b->container_count - 1];
        if (item->width > 0 && !item->is_used) {
            put_prefix(b);
            put_newline(b);
        }
    }
    b->container_count--;
}

/* A rule has no text: it is on the next line with anything in it, the end of a code block apart. */
static void on_rule(struct block *b)
{
    for (size_t at = line_behind(b, b->at); at < b->len;) {
        size_t end = ah_md_line_end(b->text, at, b->len);
        if (ah_md_is_blank(b->text, at, end)) {
            b->gap = true;
        } else if (!is_fence(b->text, at, end)) {
            b->at = end;
            break;
        }
        at = end + 1;
    }
    begin_output(b);
    put_rule(b);
}

/* The line below a heading that is underlined. */
static void end_heading(struct block *b)
{
    if (b->leaf_begun && b->leaf == AH_MD_HEADING && heading_level(b) == 0) {
        put_rule(b);
        b->at = least(ah_md_line_end(b->text, line_behind(b, b->at), b->len), b->len);
    }
}

static int enter_block(MD_BLOCKTYPE type, void *detail, void *user)
{
    struct block *b = user;
    end_leaf(b);
    switch (type) {
    case MD_BLOCK_QUOTE:
        push_container(b, (struct container){.is_quote = true, .width = 2});
        break;
    case MD_BLOCK_UL:
        push_list(b, (struct list){0});
        break;
    case MD_BLOCK_OL: {
        const MD_BLOCK_OL_DETAIL *list = detail;
        push_list(b, (struct list){true, list->start, list->mark_delimiter});
        break;
    }
    case MD_BLOCK_LI:
        push_item(b, detail);
        break;
    case MD_BLOCK_HR:
        if (!b->probe) {
            on_rule(b);
        }
        break;
    case MD_BLOCK_H:
        b->inside = AH_MD_HEADING;
        break;
    case MD_BLOCK_CODE:
        b->inside = AH_MD_CODE_BLOCK;
        b->code_begun = false;
        b->code_breaks = 0;
        break;
    case MD_BLOCK_TABLE:
        b->inside = AH_MD_TABLE;
        ah_md_table_begin(&b->table,
                          least(((MD_BLOCK_TABLE_DETAIL *)detail)->col_count, AH_MD_COLUMNS));
        break;
    case MD_BLOCK_TR:
        check(b, ah_md_table_row(&b->table));
        b->column = 0;
        break;
    case MD_BLOCK_TH:
    case MD_BLOCK_TD:
        ah_md_words_begin(&b->table.words);
        b->cell_first = b->table.words.count;
        break;
    default:
        break;
    }
    return b->rc;
}

static void leave_leaf(struct block *b, MD_BLOCKTYPE type)
{
    if (b->probe) {
        b->leaf_begun = false;
    } else if (type == MD_BLOCK_TABLE) {
        put_table(b);
    } else if (type == MD_BLOCK_CODE) {
        end_code_line(b);
        if (b->code_begun) {
            put_newline(b);
        }
    } else if (type == MD_BLOCK_H) {
        if (put_words(b)) {
            put_newline(b);
            end_heading(b);
        }
    }
    b->inside = AH_MD_PARAGRAPH;
    end_leaf(b);
}

static int leave_block(MD_BLOCKTYPE type, void *detail, void *user)
{
    struct block *b = user;
    switch (type) {
    case MD_BLOCK_TH:
    case MD_BLOCK_TD:
        check(b, ah_md_table_cell(&b->table, b->column, b->cell_first,
                                  (uint8_t)((MD_BLOCK_TD_DETAIL *)detail)->align));
        b->column++;
        break;
    case MD_BLOCK_TR:
    case MD_BLOCK_THEAD:
    case MD_BLOCK_TBODY:
        break;
    default:
        leave_leaf(b, type);
        break;
    }
    switch (type) {
    case MD_BLOCK_QUOTE:
        b->container_count--;
        break;
    case MD_BLOCK_LI:
        pop_item(b);
        break;
    case MD_BLOCK_UL:
    case MD_BLOCK_OL:
        b->list_count--;
        break;
    default:
        break;
    }
    return b->rc;
}

/* ---- spans ---- */

static enum span span_of(MD_SPANTYPE type)
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
static void put_marks(struct block *b, enum span span)
{
    if (!b->options->colour && span == CODE) {
        add(b, "`", 1, 0);
    } else if (!b->options->colour && span == STRIKE) {
        add(b, "~~", 2, 0);
    }
}

/* The address of a link or image behind its text, unless it is its text. */
static void put_address(struct block *b, const MD_ATTRIBUTE *address, size_t start)
{
    struct ah_md_words *words = words_of(b);
    const char *text = ah_buf_str(&words->text) + start;
    size_t len = words->text.len - start;
    size_t tail = address->size >= len ? address->size - len : 0;
    bool is_same = address->size >= len && len > 0 &&
                   memcmp(address->text + tail, text, len) == 0 &&
                   (tail == 0 || (tail == 7 && memcmp(address->text, "mailto:", 7) == 0));
    if (address->size == 0 || is_same) {
        return;
    }
    add(b, " (", 2, AH_MD_DIM);
    for (size_t i = 0; address->substr_offsets[i] < address->size; i++) {
        size_t from = address->substr_offsets[i];
        size_t count = address->substr_offsets[i + 1] - from;
        if (address->substr_types[i] == MD_TEXT_ENTITY) {
            add_entity(b, address->text + from, count, AH_MD_DIM);
        } else {
            add(b, address->text + from, count, AH_MD_DIM);
        }
    }
    add(b, ")", 1, AH_MD_DIM);
}

static int enter_span(MD_SPANTYPE type, void *detail, void *user)
{
    struct block *b = user;
    (void)detail;
    if (b->probe) {
        return 0;
    }
    enum span span = span_of(type);
    if (span < SPANS) {
        put_marks(b, span);
        b->spans[span]++;
    } else if (type == MD_SPAN_A) {
        b->link_start = words_of(b)->text.len;
    } else if (type == MD_SPAN_IMG) {
        b->image_start = words_of(b)->text.len;
    }
    return b->rc;
}

static int leave_span(MD_SPANTYPE type, void *detail, void *user)
{
    struct block *b = user;
    if (b->probe) {
        return 0;
    }
    enum span span = span_of(type);
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

/* ---- a piece ---- */

static int parse(struct block *b)
{
    static const MD_PARSER parser = {
        .flags = FLAGS,
        .enter_block = enter_block,
        .leave_block = leave_block,
        .enter_span = enter_span,
        .leave_span = leave_span,
        .text = on_text,
    };
    b->base = b->out->len;
    b->certain = b->base;
    b->inside = AH_MD_PARAGRAPH;
    b->at = NOWHERE;
    int rc = md_parse(b->text, (MD_SIZE)b->len, &parser, b);
    ah_md_words_clear(&b->words);
    ah_md_table_clear(&b->table);
    ah_md_lines_clear(&b->lines);
    ah_buf_clear(&b->code);
    /* What md4c fails with by itself is -1: no memory. */
    return b->rc < 0 ? b->rc : rc < 0 && rc != STOPPED ? -ENOMEM : 0;
}

int ah_md_piece(const char *text, size_t len, const struct ah_markdown_options *options,
                struct ah_buf *out)
{
    size_t stop = len;
    if (options->unfinished) {
        len = ah_md_decided(text, len);
        struct block probe = {
            .text = text, .len = len, .stop = len, .probe = true, .options = options, .out = out};
        int rc = parse(&probe);
        if (rc < 0) {
            return rc;
        }
        stop = ah_md_safe(text, len, probe.leaf, probe.leaf_behind, probe.leaf_first);
    }
    struct block block = {.text = text, .len = len, .stop = stop, .options = options, .out = out};
    int rc = parse(&block);
    if (rc == 0 && options->unfinished && out->data != NULL) {
        out->len = block.certain;
        out->data[out->len] = '\0';
    }
    return rc;
}
