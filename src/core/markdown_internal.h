/*
 * What the files of the Markdown renderer share: text as words, words as lines.
 *
 * markdown.c        pieces of a text, one after the other
 * markdown_cut.c    where a piece ends; the changes to its source before it is parsed
 * markdown_safe.c   how much of an unfinished piece is certain
 * markdown_block.h  md4c's callbacks, in markdown_block.c, markdown_span.c and markdown_put.c
 * markdown_words.c  words and their styles; lines of a width
 * markdown_table.c  tables
 */
#pragma once

#include "buf.h"
#include "markdown.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Stands in the prepared source where md4c shall not see a definition or a table. It is never
 * printed; a cleaned text has none. */
#define AH_MD_MARK '\1'

#define AH_MD_MARKERS 64 /* quotes and lists that one line may open; what follows them is text */
#define AH_MD_COLUMNS 64 /* of a table; one with more is shown as text */
#define AH_MD_BAR                                                                      \
    24 /* bytes within which the head of a table has its first bar, if not it is text: \
          so long the first line of a paragraph waits */
#define AH_MD_DEPTH 32 /* blocks inside each other that are indented; deeper ones are not */

/* ---- words ---- */

enum ah_md_style {
    AH_MD_BOLD = 1,
    AH_MD_ITALIC = 2,
    AH_MD_CODE = 4,
    AH_MD_STRIKE = 8,
    AH_MD_DIM = 16,
};

/* What stands before a fragment. */
enum ah_md_before {
    AH_MD_NOTHING, /* it continues the word */
    AH_MD_BREAK,   /* nothing, but a line may end here */
    AH_MD_SPACE,
    AH_MD_NEWLINE,
};

/* A part of a word with one style. */
struct ah_md_fragment {
    size_t start; /* in the text of its words */
    size_t len;
    size_t width;
    uint8_t style;
    uint8_t before;
};

struct ah_md_words {
    struct ah_buf text;
    struct ah_md_fragment *items;
    size_t count;
    size_t cap;
    uint32_t last;  /* the last code point; 0: none since the words began */
    uint8_t before; /* of the next fragment */
};

void ah_md_words_clear(struct ah_md_words *words); /* frees */
void ah_md_words_reset(struct ah_md_words *words); /* empties */

/* The next text begins a new sequence of words: nothing stands before it. */
void ah_md_words_begin(struct ah_md_words *words);

/* Adds text; white space separates words, AH_MD_MARK is dropped. 0 or -ENOMEM. */
int ah_md_words_add(struct ah_md_words *words, const char *text, size_t len, uint8_t style);

/* The next word begins a line. */
void ah_md_words_newline(struct ah_md_words *words);

/* Copies fragments of other words. 0 or -ENOMEM. */
int ah_md_words_copy(struct ah_md_words *words, const struct ah_md_words *from, size_t first,
                     size_t count);

/* May a line end between these two characters, which no space separates? (Chinese, Japanese.) */
bool ah_md_may_break(uint32_t before, uint32_t after);

/* ---- lines ---- */

struct ah_md_line {
    size_t start; /* in `bytes` */
    size_t len;
    size_t width;
};

struct ah_md_lines {
    struct ah_buf bytes;
    struct ah_md_line *items;
    size_t count;
    size_t cap;
};

void ah_md_lines_clear(struct ah_md_lines *lines); /* frees */

/* Adds `count` fragments from `first` on as lines of at most `room` columns, each with `style`
 * added to its own. Words that are too long are cut, unless they are an address outside of tables
 * (`keep_addresses`). A line ends in no style. 0 or -ENOMEM. */
int ah_md_wrap(const struct ah_md_words *words, size_t first, size_t count, size_t room,
               uint8_t style, bool colour, bool keep_addresses, struct ah_md_lines *lines);

/* Adds text in a style. 0 or what ah_buf_add says. */
int ah_md_styled(struct ah_buf *out, const char *text, size_t len, uint8_t style, bool colour);

/* Makes room in an array of elements of `size` bytes for one more. 0 or -ENOMEM. */
int ah_md_grow(void **items, size_t *cap, size_t count, size_t size);

/* ---- tables ---- */

struct ah_md_cell {
    size_t first; /* fragments */
    size_t count;
};

struct ah_md_row {
    size_t first; /* cells; those at the end of a row that are empty are not kept */
    size_t count;
};

struct ah_md_table {
    struct ah_md_words words;
    struct ah_md_cell *cells;
    size_t cell_count;
    size_t cell_cap;
    struct ah_md_row *rows; /* the first is the header */
    size_t row_count;
    size_t row_cap;
    size_t columns;
    uint8_t align[AH_MD_COLUMNS]; /* MD_ALIGN */
};

void ah_md_table_clear(struct ah_md_table *table);
void ah_md_table_begin(struct ah_md_table *table, size_t columns);
int ah_md_table_row(struct ah_md_table *table);
/* The fragments from `first` on are the next cell of the last row. */
int ah_md_table_cell(struct ah_md_table *table, size_t column, size_t first, uint8_t align);

/* Adds the table as lines of at most `room` columns; where that is too narrow for boxes, each row
 * as lines "header: cell". 0 or -ENOMEM. */
int ah_md_table_lines(const struct ah_md_table *table, size_t room, bool colour,
                      struct ah_md_lines *lines);

/* ---- source ---- */

/* Behind the markers of quotes and lists (with `all`), or only behind white space and quotes'
 * marks, with which a line begins. */
size_t ah_md_skip_markers(const char *text, size_t at, size_t end, bool all);

/* The end of the line at `at`: its \n, or `end`. */
size_t ah_md_line_end(const char *text, size_t at, size_t end);
size_t ah_md_line_start(const char *text, size_t at);

/* Has the line [at, end) a bar soon, so that it may be the head of a table? */
bool ah_md_has_bar(const char *text, size_t at, size_t end);

/* Is the line [at, end) empty but for white space and quotes' marks? */
bool ah_md_is_blank(const char *text, size_t at, size_t end);

/* The piece as md4c shall see it: cleaned, with AH_MD_MARK where it has to be told off. */
int ah_md_prepare(const char *text, size_t len, struct ah_buf *out);

/* What the last leaf block of an unfinished piece is. */
enum ah_md_leaf { AH_MD_NO_LEAF, AH_MD_PARAGRAPH, AH_MD_HEADING, AH_MD_CODE_BLOCK, AH_MD_TABLE };

/* How much of the prepared source has a role that its continuation cannot change: a last line of
 * which only marks are there, which may become anything, does not count. */
size_t ah_md_decided(const char *text, size_t len);

/* How much of the decided source can be shown, when its last leaf has its first text at `first` and
 * begins in no line before the one at `behind`. */
size_t ah_md_safe(const char *text, size_t len, enum ah_md_leaf leaf, size_t behind, size_t first);

/* ---- blocks ---- */

/* Parses a prepared piece and appends its rendering. */
int ah_md_piece(const char *text, size_t len, const struct ah_markdown_options *options,
                struct ah_buf *out);
