/*
 * Bytes of unknown origin, made safe to show to a model or on a terminal.
 *
 * What commands, files and servers give back is cleaned here once: UTF-8 is repaired, what could
 * steer a terminal or hide text is removed. Not for files that are to be written back unchanged,
 * and not a terminal emulator: cursor movement is dropped, not followed.
 *
 * Removed: escape sequences (CSI, OSC, DCS, PM, APC, SOS, screen's title, two-byte ones, also when
 * introduced by U+0080..U+009F), C0 controls but \n and \t, DEL, C1, the bidi controls (U+061C,
 * U+200E..200F, U+202A..202E, U+2066..2069), U+FEFF, and the tag characters U+E0000..E007F, which
 * no font shows and a model still reads.
 * Repaired: each maximal invalid subpart of UTF-8 becomes one U+FFFD; \r\n becomes \n.
 */
#pragma once

#include "buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An escape sequence takes in at most so many bytes, its introducer counted; what follows then is
 * text again. So one stray ESC cannot swallow a whole log. What was taken in stays removed. */
#define AH_TEXT_ESCAPE_MAX 4096

/* What becomes of a \r without \n behind it (a run of \r counts as one). */
enum ah_text_cr {
    AH_TEXT_CR_DROP,
    AH_TEXT_CR_NEWLINE,
    AH_TEXT_CR_KEEP, /* kept, and \b too; "erase line" and "column 1" become \r: for ah_text_clean
                      */
};

/* ---- streaming filter: state across chunks, no heap; copying it copies the state ---- */

struct ah_text_filter {
    enum ah_text_cr cr;
    uint8_t state;     /* what an escape sequence is in the middle of */
    uint8_t utf8_need; /* continuation bytes still to come */
    uint8_t utf8_seen; /* bytes of this character so far */
    uint8_t utf8_low;  /* what the next continuation byte may be */
    uint8_t utf8_high;
    uint8_t csi_arg;     /* the only argument of a CSI, 255: something else */
    bool cr_pending;     /* a \r was read and its meaning depends on what comes */
    uint32_t code_point; /* as far as it is read */
    size_t taken;        /* bytes of the escape sequence so far */

    /* Counts over all input since init; to be read. */
    size_t bytes;
    size_t replaced; /* bytes of invalid UTF-8 */
    size_t nuls;
    size_t controls; /* C0 and DEL that text does not have (all but \a \b \t \n \v \f \r ESC) */
};

void ah_text_filter_init(struct ah_text_filter *filter, enum ah_text_cr cr);

/* Appends what is certain so far to `out`: at most 3 bytes for each byte of input (and 3 held back
 * from earlier). 0, or what ah_buf_add says (-ENOMEM, -EMSGSIZE): then the state has moved on and
 * the filter is only good for init. */
int ah_text_filter_feed(struct ah_text_filter *filter, const char *data, size_t len,
                        struct ah_buf *out);

/* The input is over: an unfinished character becomes U+FFFD, an unfinished escape sequence is
 * dropped. The counts stay; the filter is ready for a new text. Errors as feed. */
int ah_text_filter_finish(struct ah_text_filter *filter, struct ah_buf *out);

/* ---- whole texts; each appends to `out` and leaves it as it was when it fails ---- */

struct ah_text_info {
    /* True when it is better shown as "binary, N bytes": it starts with a UTF-16 byte order mark,
     * has 32 NULs or more than 1 % of them, or more than 30 % of its bytes (and at least 8) are
     * invalid UTF-8 or controls that text does not have. So UTF-16, images and compressed data are
     * binary, and a Latin-1 text with accents or a coloured log is not. */
    bool binary;
    size_t bytes;    /* of input */
    size_t replaced; /* bytes of invalid UTF-8, each run of them now U+FFFD */
};

/* The filter, and in addition carriage-return progress and backspaces are resolved: text after a
 * lone \r takes the place of what the line had, text after \b the place of the characters before
 * it, and where nothing follows the line stays, so that a progress bar leaves its last state.
 * `info` may be NULL. 0, -ENOMEM or -EMSGSIZE. */
int ah_text_clean(const char *in, size_t len, struct ah_buf *out, struct ah_text_info *info);

/* Head and tail of a text that has more than max_chars characters (code points; the text should be
 * valid UTF-8), with a line "[... N characters left out ...]" between them that is not counted in
 * max_chars. head_share (0..1) of the characters go to the head. A cut is moved to the end of a
 * line when that costs at most a quarter of the part. 0, -ENOMEM or -EMSGSIZE. */
int ah_text_preview(const char *in, size_t len, size_t max_chars, double head_share,
                    struct ah_buf *out);

/* & < > become &amp; &lt; &gt;, so that the text cannot open or close a frame around it. 0, -ENOMEM
 * or -EMSGSIZE. */
int ah_text_escape_markup(const char *in, size_t len, struct ah_buf *out);

/* Columns that one line of text takes on a terminal, whatever the locale: East Asian wide
 * characters and emoji take 2, combining ones, joiners, variation selectors and controls 0, a tab
 * goes on to the next multiple of 8, a byte that is no UTF-8 takes 1. It sums code points: a
 * terminal that draws a joined emoji as one uses fewer. Knows no escape sequences. */
size_t ah_text_width(const char *text, size_t len);

/* The first character of `text` (len >= 1) as a reader counts them, with what belongs to it:
 * combining characters, variation selectors, skin tones, emoji joined by U+200D, the second half of
 * a flag. Returns its bytes; its columns are those of the first code point, or 2 for an emoji made
 * of several or asked for by U+FE0F, as terminals that know such characters draw them. */
size_t ah_text_cluster(const char *text, size_t len, size_t *ret_width);
