#include "markdown_internal.h"

#include "text.h"

#include <errno.h>
#include <md4c.h>
#include <stdlib.h>
#include <string.h>

#define MIN_COLUMN 4 /* narrower columns are not read with pleasure */

void ah_md_table_clear(struct ah_md_table *table)
{
    ah_md_words_clear(&table->words);
    free(table->cells);
    free(table->rows);
    *table = (struct ah_md_table){0};
}

void ah_md_table_begin(struct ah_md_table *table, size_t columns)
{
    ah_md_words_reset(&table->words);
    table->cell_count = 0;
    table->row_count = 0;
    table->columns = columns;
    memset(table->align, 0, sizeof table->align);
}

int ah_md_table_row(struct ah_md_table *table)
{
    int rc =
        ah_md_grow((void **)&table->rows, &table->row_cap, table->row_count, sizeof *table->rows);
    if (rc == 0) {
        table->rows[table->row_count++] = (struct ah_md_row){.first = table->cell_count};
    }
    return rc;
}

int ah_md_table_cell(struct ah_md_table *table, size_t column, size_t first, uint8_t align)
{
    size_t count = table->words.count - first;
    if (column >= table->columns || table->row_count == 0) {
        return 0;
    }
    if (table->row_count == 1) {
        table->align[column] = align;
    }
    struct ah_md_row *row = &table->rows[table->row_count - 1];
    while (count > 0 && row->count <= column) { /* the empty ones before it, too */
        int rc = ah_md_grow((void **)&table->cells, &table->cell_cap, table->cell_count,
                            sizeof *table->cells);
        if (rc < 0) {
            return rc;
        }
        bool is_it = row->count == column;
        table->cells[table->cell_count++] =
            (struct ah_md_cell){.first = first, .count = is_it ? count : 0};
        row->count++;
    }
    return 0;
}

static struct ah_md_cell cell_at(const struct ah_md_table *table, size_t row, size_t column)
{
    const struct ah_md_row *r = &table->rows[row];
    return column < r->count ? table->cells[r->first + column] : (struct ah_md_cell){0};
}

/* ---- widths ---- */

static size_t natural_width(const struct ah_md_table *table, struct ah_md_cell cell)
{
    size_t width = 0;
    for (size_t i = cell.first; i < cell.first + cell.count; i++) {
        width += table->words.items[i].width + (table->words.items[i].before == AH_MD_SPACE);
    }
    return width;
}

static size_t sum_capped(const size_t *widths, size_t count, size_t cap)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += widths[i] < cap ? widths[i] : cap;
    }
    return sum;
}

/* Narrows the widest columns, all to the same width, until the sum fits. */
static void fit(size_t *widths, size_t count, size_t available)
{
    size_t cap = available;
    while (cap > MIN_COLUMN && sum_capped(widths, count, cap) > available) {
        cap--;
    }
    size_t rest = sum_capped(widths, count, cap);
    rest = available > rest ? available - rest : 0;
    for (size_t i = 0; i < count; i++) {
        if (widths[i] > cap) {
            widths[i] = rest > 0 ? cap + 1 : cap; /* what is left over: a column each */
            rest -= rest > 0;
        }
    }
}

/* False: boxes do not fit. */
static bool choose_widths(const struct ah_md_table *table, size_t room, size_t *ret_widths)
{
    size_t borders = 3 * table->columns + 1;
    for (size_t c = 0; c < table->columns; c++) {
        ret_widths[c] = 1;
        for (size_t r = 0; r < table->row_count; r++) {
            size_t width = natural_width(table, cell_at(table, r, c));
            ret_widths[c] = width > ret_widths[c] ? width : ret_widths[c];
        }
    }
    if (room <= borders || sum_capped(ret_widths, table->columns, MIN_COLUMN) > room - borders) {
        return false;
    }
    fit(ret_widths, table->columns, room - borders);
    return true;
}

/* ---- boxes ---- */

static int begin_line(struct ah_md_lines *lines)
{
    int rc = ah_md_grow((void **)&lines->items, &lines->cap, lines->count, sizeof *lines->items);
    if (rc == 0) {
        lines->items[lines->count++] = (struct ah_md_line){.start = lines->bytes.len};
    }
    return rc;
}

static int add(struct ah_md_lines *lines, const char *text, size_t len, size_t width)
{
    struct ah_md_line *line = &lines->items[lines->count - 1];
    int rc = ah_buf_add(&lines->bytes, text, len);
    line->len = lines->bytes.len - line->start;
    line->width += width;
    return rc;
}

static int add_repeated(struct ah_md_lines *lines, const char *text, size_t count)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = add(lines, text, strlen(text), 1);
    }
    return rc;
}

static int add_rule(struct ah_md_lines *lines, const size_t *widths, size_t columns,
                    const char *const corners[3])
{
    int rc = begin_line(lines);
    for (size_t c = 0; c < columns && rc == 0; c++) {
        rc = add_repeated(lines, c == 0 ? corners[0] : corners[1], 1);
        rc = rc == 0 ? add_repeated(lines, "─", widths[c] + 2) : rc;
    }
    return rc == 0 ? add_repeated(lines, corners[2], 1) : rc;
}

static size_t left_pad(uint8_t align, size_t space)
{
    return align == MD_ALIGN_RIGHT ? space : align == MD_ALIGN_CENTER ? space / 2 : 0;
}

/* Line `n` of a row whose cells are wrapped. */
static int add_row_line(struct ah_md_lines *lines, const struct ah_md_table *table,
                        const size_t *widths, const struct ah_md_lines *cells, size_t n)
{
    int rc = begin_line(lines);
    for (size_t c = 0; c < table->columns && rc == 0; c++) {
        struct ah_md_line none = {0};
        const struct ah_md_line *line = n < cells[c].count ? &cells[c].items[n] : &none;
        size_t space = widths[c] > line->width ? widths[c] - line->width : 0;
        size_t left = left_pad(table->align[c], space);
        rc = add(lines, "│", sizeof "│" - 1, 1);
        rc = rc == 0 ? add_repeated(lines, " ", 1 + left) : rc;
        if (rc == 0 && line->len > 0) {
            rc = add(lines, cells[c].bytes.data + line->start, line->len, line->width);
        }
        rc = rc == 0 ? add_repeated(lines, " ", space - left + 1) : rc;
    }
    return rc == 0 ? add_repeated(lines, "│", 1) : rc;
}

/* Returns the lines of the row in `ret_height`. */
static int add_row(struct ah_md_lines *lines, const struct ah_md_table *table, size_t row,
                   const size_t *widths, bool colour, size_t *ret_height)
{
    struct ah_md_lines cells[AH_MD_COLUMNS] = {0};
    size_t height = 1;
    int rc = 0;
    for (size_t c = 0; c < table->columns && rc == 0; c++) {
        struct ah_md_cell cell = cell_at(table, row, c);
        rc = ah_md_wrap(&table->words, cell.first, cell.count, widths[c], row == 0 ? AH_MD_BOLD : 0,
                        colour, false, &cells[c]);
        height = cells[c].count > height ? cells[c].count : height;
    }
    for (size_t n = 0; n < height && rc == 0; n++) {
        rc = add_row_line(lines, table, widths, cells, n);
    }
    for (size_t c = 0; c < table->columns; c++) {
        ah_md_lines_clear(&cells[c]);
    }
    *ret_height = height;
    return rc;
}

/* Does a row of the body need more than one line? Then rules between rows keep them apart. */
static bool has_wrapped_rows(const struct ah_md_table *table, const size_t *widths)
{
    for (size_t r = 1; r < table->row_count; r++) {
        for (size_t c = 0; c < table->columns; c++) {
            if (natural_width(table, cell_at(table, r, c)) > widths[c]) {
                return true;
            }
        }
    }
    return false;
}

static int add_boxes(const struct ah_md_table *table, const size_t *widths, bool colour,
                     struct ah_md_lines *lines)
{
    static const char *const top[] = {"┌", "┬", "┐"};
    static const char *const middle[] = {"├", "┼", "┤"};
    static const char *const bottom[] = {"└", "┴", "┘"};
    bool apart = has_wrapped_rows(table, widths);
    size_t height = 0;
    int rc = add_rule(lines, widths, table->columns, top);
    for (size_t r = 0; r < table->row_count && rc == 0; r++) {
        if (r == 1 || (r > 1 && apart)) {
            rc = add_rule(lines, widths, table->columns, middle);
        }
        rc = rc == 0 ? add_row(lines, table, r, widths, colour, &height) : rc;
    }
    return rc == 0 ? add_rule(lines, widths, table->columns, bottom) : rc;
}

/* ---- rows as lists, for narrow terminals ---- */

static int add_record(const struct ah_md_table *table, size_t row, size_t room, bool colour,
                      struct ah_md_words *words, struct ah_md_lines *lines)
{
    int rc = 0;
    for (size_t c = 0; c < table->columns && rc == 0; c++) {
        struct ah_md_cell head = cell_at(table, 0, c);
        struct ah_md_cell cell = cell_at(table, row, c);
        if (cell.count == 0) {
            continue;
        }
        ah_md_words_reset(words);
        if (row > 0 && head.count > 0) {
            rc = ah_md_words_copy(words, &table->words, head.first, head.count);
            rc = rc == 0 ? ah_md_words_add(words, ": ", 2, 0) : rc;
        }
        rc = rc == 0 ? ah_md_words_copy(words, &table->words, cell.first, cell.count) : rc;
        rc = rc == 0 ? ah_md_wrap(words, 0, words->count, room, row == 0 ? AH_MD_BOLD : 0, colour,
                                  true, lines)
                     : rc;
    }
    return rc;
}

static int add_records(const struct ah_md_table *table, size_t room, bool colour,
                       struct ah_md_lines *lines)
{
    struct ah_md_words words = {0};
    int rc = 0;
    for (size_t r = table->row_count > 1 ? 1 : 0; r < table->row_count && rc == 0; r++) {
        if (lines->count > 0) {
            rc = begin_line(lines);
        }
        rc = rc == 0 ? add_record(table, r, room, colour, &words, lines) : rc;
    }
    ah_md_words_clear(&words);
    return rc;
}

int ah_md_table_lines(const struct ah_md_table *table, size_t room, bool colour,
                      struct ah_md_lines *lines)
{
    size_t widths[AH_MD_COLUMNS];
    if (table->columns == 0 || table->row_count == 0) {
        return 0;
    }
    return choose_widths(table, room, widths) ? add_boxes(table, widths, colour, lines)
                                              : add_records(table, room, colour, lines);
}
