/*
 * A piece of Markdown while md4c reads it: what its callbacks share.
 *
 * markdown_block.c  blocks
 * markdown_span.c   text, styles, links
 * markdown_put.c    lines with what the blocks around them begin them with
 */
#pragma once

#include "markdown_internal.h"

#include <md4c.h>

struct ah_md_container {
    char marker[16]; /* of an item */
    size_t width;    /* 0: deeper than is indented */
    bool is_quote;
    bool is_used; /* a line begins with it */
};

struct ah_md_list {
    bool is_ordered;
    unsigned next;
    char delimiter;
};

enum ah_md_span { BOLD, ITALIC, CODE, STRIKE, SPANS };

struct ah_md_block {
    const char *text;
    size_t len;
    size_t stop; /* text from here on is not shown */
    bool probe;  /* nothing is shown: only the last leaf is looked for */
    const struct ah_markdown_options *options;
    struct ah_buf *out;
    size_t base;    /* where our output begins in `out` */
    size_t certain; /* end of the output that there is text for; what follows may yet change */

    struct ah_md_container containers[AH_MD_DEPTH];
    size_t container_count; /* may be more than there is room for */
    struct ah_md_list lists[AH_MD_DEPTH];
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

size_t ah_md_least(size_t a, size_t b);

/* Keeps the first error; md4c is told to stop by every callback's result. */
void ah_md_check(struct ah_md_block *b, int rc);

/* ---- lines; errors are kept ---- */

void ah_md_put(struct ah_md_block *b, const char *text, size_t len, uint8_t style);

/* Columns that the blocks around the text take, and those that they leave. */
size_t ah_md_prefix_width(const struct ah_md_block *b);
size_t ah_md_room(const struct ah_md_block *b);

/* What a line of the blocks that are open begins with. */
void ah_md_put_prefix(struct ah_md_block *b);
void ah_md_put_newline(struct ah_md_block *b);

/* The empty line before a block, when the source has one. */
void ah_md_begin_output(struct ah_md_block *b);

/* Writes `lines`; the last one stays open. */
void ah_md_put_lines(struct ah_md_block *b);
void ah_md_put_rule(struct ah_md_block *b);

/* ---- text ---- */

/* Those that text now goes to. */
struct ah_md_words *ah_md_words_of(struct ah_md_block *b);
uint8_t ah_md_style_of(const struct ah_md_block *b);
void ah_md_add(struct ah_md_block *b, const char *text, size_t len, uint8_t style);

/* "&amp;"; names that are not known stay as they are. */
void ah_md_add_entity(struct ah_md_block *b, const char *text, size_t len, uint8_t style);

/* For md4c. */
int ah_md_enter_span(MD_SPANTYPE type, void *detail, void *user);
int ah_md_leave_span(MD_SPANTYPE type, void *detail, void *user);
