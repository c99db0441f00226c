/*
 * Markdown (CommonMark with tables, strikethrough and task lists; md4c parses) as text for a
 * terminal: wrapped at a width, with styles by escape sequences or without any.
 *
 * For what models write: a finished text, or one that is still coming. Not a pager and no screen
 * control: what was printed is never touched again. So what could change text far above it is not
 * followed: link definitions are shown as text, HTML too, and a heading that is underlined (setext)
 * is a paragraph with a rule below it.
 *
 * A text is rendered in pieces, each of them parsed alone: a piece ends at a blank line that ends
 * all blocks, or where it gets too long. Memory and time are bounded by that, and a text that comes
 * slowly looks in the end like one that came at once.
 */
#pragma once

#include "buf.h"

#include <stdbool.h>
#include <stddef.h>

/* The longest piece unless the caller says otherwise, and the most it may say, in bytes. */
#define AH_MARKDOWN_PIECE 65536
#define AH_MARKDOWN_PIECE_MAX (16u * 1024 * 1024)

/* Narrower and wider terminals are written to as if they had so many columns. */
#define AH_MARKDOWN_MIN_WIDTH 16
#define AH_MARKDOWN_MAX_WIDTH 400

struct ah_markdown_options {
    size_t width;    /* columns */
    size_t piece;    /* bytes of the longest piece; 0: AH_MARKDOWN_PIECE */
    bool colour;     /* styles; without them there is no escape sequence at all */
    bool unfinished; /* more will follow: of the last piece give only what no continuation changes,
                        up to the end of a word and without a line break behind it */
};

/* Appends the rendering to `out`. The text is cleaned first (text.h), so no control of its own gets
 * through. For any continuation of an unfinished piece: what this gives for it is the beginning of
 * what it gives for the longer one. 0, -ENOMEM, or -EMSGSIZE when `out` has a limit. */
int ah_markdown_render(const char *text, size_t len, const struct ah_markdown_options *options,
                       struct ah_buf *out);

#define AH_MARKDOWN_CARRY 72

struct ah_markdown_cut {
    size_t len;                    /* bytes of the piece */
    bool gap;                      /* a blank line separates it from the next */
    char carry[AH_MARKDOWN_CARRY]; /* to be put in front of the next piece: it is in the middle of a
                                      fenced code block. Else "" */
};

/* Where the first piece of `text` ends; false while that is not certain (the rest may be one piece,
 * when nothing follows). Cutting does not depend on how much of the text is there. */
bool ah_markdown_cut(const char *text, size_t len, size_t piece, struct ah_markdown_cut *ret_cut);
