/* Lines, with what the blocks around them begin them with. */
#include "markdown_block.h"

#include <string.h>

#define RULE_MAX 80 /* columns */

size_t ah_md_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void ah_md_check(struct ah_md_block *b, int rc)
{
    if (rc < 0 && b->rc == 0) {
        b->rc = rc;
    }
}

void ah_md_put(struct ah_md_block *b, const char *text, size_t len, uint8_t style)
{
    ah_md_check(b, ah_md_styled(b->out, text, len, style, b->options->colour));
}

size_t ah_md_prefix_width(const struct ah_md_block *b)
{
    size_t width = 0;
    for (size_t i = 0; i < ah_md_least(b->container_count, AH_MD_DEPTH); i++) {
        width += b->containers[i].width;
    }
    return width;
}

size_t ah_md_room(const struct ah_md_block *b)
{
    return b->options->width - ah_md_prefix_width(b);
}

void ah_md_put_prefix(struct ah_md_block *b)
{
    for (size_t i = 0; i < ah_md_least(b->container_count, AH_MD_DEPTH); i++) {
        struct ah_md_container *c = &b->containers[i];
        if (c->width > 0 && c->is_quote) {
            ah_md_put(b, "│", sizeof "│" - 1, AH_MD_DIM);
            ah_md_put(b, " ", 1, 0);
        } else if (c->width > 0 && !c->is_used) {
            ah_md_put(b, c->marker, strlen(c->marker), 0);
        } else {
            for (size_t n = 0; n < c->width; n++) {
                ah_md_put(b, " ", 1, 0);
            }
        }
        c->is_used = true;
    }
}

void ah_md_put_newline(struct ah_md_block *b)
{
    while (b->out->len > b->base && b->out->data[b->out->len - 1] == ' ') {
        b->out->len--;
    }
    ah_md_put(b, "\n", 1, 0);
}

/* An empty line between two blocks; blocks that begin below it do not show in it. */
static void put_gap(struct ah_md_block *b)
{
    size_t all = b->container_count;
    size_t used = 0;
    while (used < ah_md_least(all, AH_MD_DEPTH) && b->containers[used].is_used) {
        used++;
    }
    b->container_count = used;
    ah_md_put_prefix(b);
    ah_md_put_newline(b);
    b->container_count = all;
}

void ah_md_begin_output(struct ah_md_block *b)
{
    if (b->gap && b->out->len > b->base) {
        put_gap(b);
    }
    b->gap = false;
}

void ah_md_put_lines(struct ah_md_block *b)
{
    for (size_t i = 0; i < b->lines.count && b->rc == 0; i++) {
        const struct ah_md_line *line = &b->lines.items[i];
        if (i > 0) {
            ah_md_put_newline(b);
        }
        ah_md_put_prefix(b);
        if (line->len > 0) {
            ah_md_put(b, b->lines.bytes.data + line->start, line->len, 0);
        }
    }
    b->lines.count = 0;
    b->lines.bytes.len = 0;
    if (b->leaf_begun) { /* not only an address */
        b->certain = b->out->len;
    }
}

void ah_md_put_rule(struct ah_md_block *b)
{
    ah_md_put_prefix(b);
    for (size_t i = ah_md_least(ah_md_room(b), RULE_MAX); i > 0; i--) {
        ah_md_put(b, "─", sizeof "─" - 1, 0);
    }
    ah_md_put_newline(b);
}
