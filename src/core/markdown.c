#include "markdown.h"

#include "markdown_internal.h"

#include <string.h>

/* One piece, behind a blank line when there has to be one. */
static int add_piece(const char *text, size_t len, const struct ah_markdown_options *options,
                     bool gap, struct ah_buf *out)
{
    struct ah_buf source;
    ah_buf_init(&source, 0);
    size_t before = out->len;
    int rc = ah_md_prepare(text, len, &source);
    if (rc == 0 && gap) {
        rc = ah_buf_add_str(out, "\n");
    }
    size_t start = out->len;
    if (rc == 0) {
        rc = ah_md_piece(ah_buf_str(&source), source.len, options, out);
    }
    if (out->len == start && out->data != NULL) {
        out->len = before;
        out->data[before] = '\0';
    }
    ah_buf_clear(&source);
    return rc;
}

int ah_markdown_render(const char *text, size_t len, const struct ah_markdown_options *options,
                       struct ah_buf *out)
{
    struct ah_markdown_options own = *options;
    own.piece = own.piece > 0 ? own.piece : AH_MARKDOWN_PIECE;
    own.width = own.width > AH_MARKDOWN_MIN_WIDTH ? own.width : AH_MARKDOWN_MIN_WIDTH;
    own.width = own.width < AH_MARKDOWN_MAX_WIDTH ? own.width : AH_MARKDOWN_MAX_WIDTH;
    struct ah_buf carried; /* a piece with what was carried into it */
    ah_buf_init(&carried, 0);
    struct ah_markdown_cut cut = {0};
    size_t base = out->len;
    bool gap = false;
    int rc = 0;
    while (rc == 0) {
        size_t before = strlen(cut.carry);
        const char *piece = text;
        size_t piece_len = len;
        if (before > 0) { /* as if the fence stood in the text */
            size_t window = len < own.piece ? len : own.piece;
            carried.len = 0;
            rc = ah_buf_add(&carried, cut.carry, before);
            rc = rc == 0 ? ah_buf_add(&carried, text, window) : rc;
            if (rc < 0) {
                break;
            }
            piece = carried.data;
            piece_len = carried.len;
        }
        bool more = ah_markdown_cut(piece, piece_len, own.piece, &cut);
        struct ah_markdown_options now = own;
        now.unfinished = own.unfinished && !more;
        rc = add_piece(piece, more ? cut.len : piece_len, &now, gap && out->len > base, out);
        if (!more) {
            break;
        }
        gap = cut.gap;
        text += cut.len - before;
        len -= cut.len - before;
    }
    ah_buf_clear(&carried);
    return rc;
}
