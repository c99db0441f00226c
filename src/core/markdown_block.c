/* md4c's callbacks: what each block becomes. */
#include "markdown_block.h"

#include "text.h"

#include <errno.h>
#include <limits.h>
#include <md4c.h>
#include <stdio.h>
#include <string.h>

/* A callback has seen enough. Negative: md4c takes only that for an end everywhere. */
#define STOPPED INT_MIN
#define NOWHERE SIZE_MAX

#define FLAGS (MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS | MD_FLAG_NOHTML)

/* ---- where we are in the source ---- */

static size_t line_behind(const struct ah_md_block *b, size_t at)
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
static bool has_gap(const struct ah_md_block *b, size_t limit)
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
static void begin_leaf(struct ah_md_block *b, size_t first)
{
    size_t start = ah_md_line_start(b->text, first);
    b->leaf_begun = true;
    b->leaf_first = first;
    b->leaf_behind = line_behind(b, b->at);
    b->gap = has_gap(b, start);
    b->leaf = b->inside;
}

/* "# Title", or a line below it? Tells the level; 0: underlined. */
static size_t heading_level(const struct ah_md_block *b)
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

static void add_code(struct ah_md_block *b, const char *text, size_t len)
{
    const char *mark = memchr(text, AH_MD_MARK, len);
    size_t head = mark != NULL ? (size_t)(mark - text) : len;
    ah_md_check(b, ah_buf_add(&b->code, text, head));
    if (mark != NULL) {
        add_code(b, mark + 1, len - head - 1);
    }
}

/* A line of a code block has ended. Those that are empty wait for one that is not. */
static void end_code_line(struct ah_md_block *b)
{
    while (b->code.len > 0 && b->code.data[b->code.len - 1] == ' ') { /* no line ends in spaces */
        b->code.len--;
    }
    if (b->code.len > 0) {
        if (!b->code_begun) {
            ah_md_begin_output(b);
        }
        for (size_t i = 0; b->code_begun && i < b->code_breaks; i++) {
            if (i > 0) {
                ah_md_put_prefix(b);
            }
            ah_md_put_newline(b);
        }
        ah_md_put_prefix(b);
        ah_md_put(b, "  ", 2, 0);
        ah_md_put(b, ah_buf_str(&b->code), b->code.len, AH_MD_CODE);
        b->certain = b->out->len;
        b->code.len = 0;
        b->code_begun = true;
        b->code_breaks = 0;
    }
    b->code_breaks++;
}

/* Shows the words of a paragraph or heading; its last line stays open. */
static bool put_words(struct ah_md_block *b)
{
    if (b->words.count == 0) {
        return false;
    }
    bool is_bold = b->leaf_begun && b->leaf == AH_MD_HEADING && heading_level(b) > 0;
    ah_md_begin_output(b);
    ah_md_check(b, ah_md_wrap(&b->words, 0, b->words.count, ah_md_room(b), is_bold ? AH_MD_BOLD : 0,
                              b->options->colour, true, &b->lines));
    ah_md_put_lines(b);
    ah_md_words_reset(&b->words);
    return true;
}

static void put_table(struct ah_md_block *b)
{
    ah_md_check(b, ah_md_table_lines(&b->table, ah_md_room(b), b->options->colour, &b->lines));
    if (b->lines.count > 0) {
        ah_md_begin_output(b);
        ah_md_put_lines(b);
        ah_md_put_newline(b);
    }
}

/* The block that text was in is over, if there was one. */
static void end_leaf(struct ah_md_block *b)
{
    if (b->inside == AH_MD_TABLE) {
        return; /* its cells are no blocks of their own */
    }
    if (put_words(b)) {
        ah_md_put_newline(b);
    }
    b->leaf_begun = false;
    b->gap = false;
}

static int text_in(struct ah_md_block *b, MD_TEXTTYPE type, const char *text, size_t len)
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
        ah_md_words_newline(ah_md_words_of(b));
    } else if (type == MD_TEXT_SOFTBR) {
        ah_md_add(b, " ", 1, 0);
    } else if (type == MD_TEXT_ENTITY) {
        ah_md_add_entity(b, text, len, ah_md_style_of(b));
    } else {
        ah_md_add(b, text, len, ah_md_style_of(b));
    }
    return b->rc;
}

static int on_text(MD_TEXTTYPE type, const MD_CHAR *text, MD_SIZE size, void *user)
{
    struct ah_md_block *b = user;
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
            ah_md_add(b, "######", heading_level(b), 0);
            ah_md_add(b, " ", 1, 0);
        }
    }
    len = ah_md_least(len, b->stop - at);
    b->at = at + len;
    int rc = text_in(b, type, text, len);
    if (rc == 0 && len < size) {
        put_words(b);
        rc = b->rc < 0 ? b->rc : STOPPED;
    }
    return rc;
}

/* ---- blocks ---- */

static struct ah_md_list *top_list(struct ah_md_block *b)
{
    return b->list_count > 0 && b->list_count <= AH_MD_DEPTH ? &b->lists[b->list_count - 1] : NULL;
}

static void push_list(struct ah_md_block *b, struct ah_md_list list)
{
    if (b->list_count < AH_MD_DEPTH) {
        b->lists[b->list_count] = list;
    }
    b->list_count++;
}

/* Half of the width at most is indentation. */
static void push_container(struct ah_md_block *b, struct ah_md_container container)
{
    if (b->container_count < AH_MD_DEPTH) {
        if (ah_md_prefix_width(b) + container.width > b->options->width / 2) {
            container.width = 0;
        }
        b->containers[b->container_count] = container;
    }
    b->container_count++;
}

static void push_item(struct ah_md_block *b, const MD_BLOCK_LI_DETAIL *detail)
{
    struct ah_md_container item = {0};
    struct ah_md_list *list = top_list(b);
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
static void pop_item(struct ah_md_block *b)
{
    if (b->container_count <= AH_MD_DEPTH && !b->probe) {
        const struct ah_md_container *item = &b->containers[b->container_count - 1];
        if (item->width > 0 && !item->is_used) {
            ah_md_put_prefix(b);
            ah_md_put_newline(b);
        }
    }
    b->container_count--;
}

/* A rule has no text: it is on the next line with anything in it, the end of a code block apart. */
static void on_rule(struct ah_md_block *b)
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
    ah_md_begin_output(b);
    ah_md_put_rule(b);
}

/* The line below a heading that is underlined. */
static void end_heading(struct ah_md_block *b)
{
    if (b->leaf_begun && b->leaf == AH_MD_HEADING && heading_level(b) == 0) {
        ah_md_put_rule(b);
        b->at = ah_md_least(ah_md_line_end(b->text, line_behind(b, b->at), b->len), b->len);
    }
}

static int enter_block(MD_BLOCKTYPE type, void *detail, void *user)
{
    struct ah_md_block *b = user;
    end_leaf(b);
    switch (type) {
    case MD_BLOCK_QUOTE:
        push_container(b, (struct ah_md_container){.is_quote = true, .width = 2});
        break;
    case MD_BLOCK_UL:
        push_list(b, (struct ah_md_list){0});
        break;
    case MD_BLOCK_OL: {
        const MD_BLOCK_OL_DETAIL *list = detail;
        push_list(b, (struct ah_md_list){true, list->start, list->mark_delimiter});
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
                          ah_md_least(((MD_BLOCK_TABLE_DETAIL *)detail)->col_count, AH_MD_COLUMNS));
        break;
    case MD_BLOCK_TR:
        ah_md_check(b, ah_md_table_row(&b->table));
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

static void leave_leaf(struct ah_md_block *b, MD_BLOCKTYPE type)
{
    if (b->probe) {
        b->leaf_begun = false;
    } else if (type == MD_BLOCK_TABLE) {
        put_table(b);
    } else if (type == MD_BLOCK_CODE) {
        end_code_line(b);
        if (b->code_begun) {
            ah_md_put_newline(b);
        }
    } else if (type == MD_BLOCK_H) {
        if (put_words(b)) {
            ah_md_put_newline(b);
            end_heading(b);
        }
    }
    b->inside = AH_MD_PARAGRAPH;
    end_leaf(b);
}

static int leave_block(MD_BLOCKTYPE type, void *detail, void *user)
{
    struct ah_md_block *b = user;
    switch (type) {
    case MD_BLOCK_TH:
    case MD_BLOCK_TD:
        ah_md_check(b, ah_md_table_cell(&b->table, b->column, b->cell_first,
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

/* ---- a piece ---- */

static int parse(struct ah_md_block *b)
{
    static const MD_PARSER parser = {
        .flags = FLAGS,
        .enter_block = enter_block,
        .leave_block = leave_block,
        .enter_span = ah_md_enter_span,
        .leave_span = ah_md_leave_span,
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
        struct ah_md_block probe = {
            .text = text, .len = len, .stop = len, .probe = true, .options = options, .out = out};
        int rc = parse(&probe);
        if (rc < 0) {
            return rc;
        }
        stop = ah_md_safe(text, len, probe.leaf, probe.leaf_behind, probe.leaf_first);
    }
    struct ah_md_block block = {
        .text = text, .len = len, .stop = stop, .options = options, .out = out};
    int rc = parse(&block);
    if (rc == 0 && options->unfinished && out->data != NULL) {
        out->len = block.certain;
        out->data[out->len] = '\0';
    }
    return rc;
}
