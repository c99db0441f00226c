#include "text.h"

#include "utf8.h"

#include <string.h>

enum state {
    GROUND,
    ESCAPE,       /* ESC seen */
    INTERMEDIATE, /* ESC and one of 0x20..0x2f: one final byte ends it */
    CSI,
    OSC,    /* ended by BEL or ST */
    STRING, /* DCS, SOS, PM, APC, screen's title: ended by ST */
};

#define CSI_ARG_OTHER 255

void ah_text_filter_init(struct ah_text_filter *filter, enum ah_text_cr cr)
{
    *filter = (struct ah_text_filter){.cr = cr, .state = GROUND};
}

/* Settles a \r that waited for what comes: the next character that is shown is `next`. */
static size_t settle_cr(struct ah_text_filter *f, uint32_t next, char *bytes)
{
    if (!f->cr_pending) {
        return 0;
    }
    f->cr_pending = false;
    if (next == '\n' || f->cr == AH_TEXT_CR_DROP) {
        return 0;
    }
    bytes[0] = f->cr == AH_TEXT_CR_KEEP ? '\r' : '\n';
    return 1;
}

static int emit(struct ah_text_filter *f, uint32_t cp, struct ah_buf *out)
{
    char bytes[5];
    size_t len = settle_cr(f, cp, bytes);
    len += ah_utf8_encode(cp, bytes + len);
    return ah_buf_add(out, bytes, len);
}

static bool is_hidden(uint32_t cp)
{
    return cp == 0x061c || cp == 0x200e || cp == 0x200f || (cp >= 0x202a && cp <= 0x202e) ||
           (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff || (cp >= 0xe0000 && cp <= 0xe007f);
}

static void start(struct ah_text_filter *f, enum state state, size_t taken)
{
    f->state = (uint8_t)state;
    f->taken = taken;
    f->csi_arg = 0;
}

/* A control of the C0 or C1 set, or DEL, outside a string. */
static int on_control(struct ah_text_filter *f, uint32_t cp, struct ah_buf *out)
{
    f->state = GROUND;
    switch (cp) {
    case '\n':
    case '\t':
        return emit(f, cp, out);
    case '\r':
        f->cr_pending = true;
        return 0;
    case '\b':
        return f->cr == AH_TEXT_CR_KEEP ? emit(f, cp, out) : 0;
    case 0x1b:
        start(f, ESCAPE, 1);
        return 0;
    case 0x9b:
        start(f, CSI, 2);
        return 0;
    case 0x9d:
        start(f, OSC, 2);
        return 0;
    case 0x90: /* DCS */
    case 0x98: /* SOS */
    case 0x9e: /* PM */
    case 0x9f: /* APC */
        start(f, STRING, 2);
        return 0;
    default:
        return 0;
    }
}

static void on_escape(struct ah_text_filter *f, uint32_t cp)
{
    if (cp == '[') {
        f->state = CSI;
    } else if (cp == ']') {
        f->state = OSC;
    } else if (cp == 'P' || cp == 'X' || cp == '^' || cp == '_' || cp == 'k') {
        f->state = STRING;
    } else if (cp <= 0x2f) {
        f->state = INTERMEDIATE;
    } else {
        f->state = GROUND;
    }
}

static void on_csi(struct ah_text_filter *f, uint32_t cp)
{
    if (cp >= '0' && cp <= '9') {
        unsigned arg = f->csi_arg * 10u + (cp - '0');
        f->csi_arg = (uint8_t)(arg < CSI_ARG_OTHER ? arg : CSI_ARG_OTHER);
        return;
    }
    if (cp < 0x40) {
        f->csi_arg = CSI_ARG_OTHER;
        return;
    }
    f->state = GROUND;
    /* Programs that redraw a line without \r: "column 1" and "erase the line". */
    if (f->cr == AH_TEXT_CR_KEEP &&
        ((cp == 'G' && f->csi_arg <= 1) || (cp == 'K' && f->csi_arg == 2))) {
        f->cr_pending = true;
    }
}

static int on_char(struct ah_text_filter *f, uint32_t cp, struct ah_buf *out)
{
    bool is_control = cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
    if (f->state == OSC || f->state == STRING) {
        if (cp == 0x1b) { /* ST, or the start of the next one */
            start(f, ESCAPE, 1);
        } else if (cp == 0x9c || cp == 0x18 || cp == 0x1a || (cp == '\a' && f->state == OSC)) {
            f->state = GROUND;
        }
        return 0;
    }
    if (is_control) { /* in the middle of a sequence it ends it: a cut one costs no more text */
        return on_control(f, cp, out);
    }
    if (cp >= 0x80) {
        f->state = GROUND;
    }
    switch (f->state) {
    case ESCAPE:
        on_escape(f, cp);
        return 0;
    case INTERMEDIATE:
        if (cp > 0x2f) {
            f->state = GROUND;
        }
        return 0;
    case CSI:
        on_csi(f, cp);
        return 0;
    default:
        return is_hidden(cp) ? 0 : emit(f, cp, out);
    }
}

/* `count` bytes that are no UTF-8. */
static int on_invalid(struct ah_text_filter *f, size_t count, struct ah_buf *out)
{
    f->replaced += count;
    if (f->state == OSC || f->state == STRING) {
        return 0;
    }
    f->state = GROUND;
    return emit(f, 0xfffd, out);
}

/* The first byte of a character; false when no character starts with it. */
static bool start_char(struct ah_text_filter *f, uint8_t byte)
{
    f->utf8_low = 0x80;
    f->utf8_high = 0xbf;
    f->utf8_seen = 1;
    if (byte >= 0xc2 && byte <= 0xdf) {
        f->utf8_need = 1;
        f->code_point = byte & 0x1f;
    } else if ((byte & 0xf0) == 0xe0) {
        f->utf8_need = 2;
        f->code_point = byte & 0x0f;
        f->utf8_low = byte == 0xe0 ? 0xa0 : 0x80;  /* no overlong form */
        f->utf8_high = byte == 0xed ? 0x9f : 0xbf; /* no surrogate */
    } else if (byte >= 0xf0 && byte <= 0xf4) {
        f->utf8_need = 3;
        f->code_point = byte & 0x07;
        f->utf8_low = byte == 0xf0 ? 0x90 : 0x80;
        f->utf8_high = byte == 0xf4 ? 0x8f : 0xbf; /* nothing above U+10FFFF */
    } else {
        return false;
    }
    return true;
}

static void count_ascii(struct ah_text_filter *f, uint8_t byte)
{
    if (byte == 0) {
        f->nuls++;
    }
    if (byte < '\a' || (byte > '\r' && byte < 0x20 && byte != 0x1b) || byte == 0x7f) {
        f->controls++;
    }
}

static int step(struct ah_text_filter *f, uint8_t byte, struct ah_buf *out)
{
    if (f->state != GROUND) {
        if (f->taken >= AH_TEXT_ESCAPE_MAX) {
            f->state = GROUND;
        }
        f->taken++;
    }
    if (f->utf8_need > 0) {
        if (byte >= f->utf8_low && byte <= f->utf8_high) {
            f->code_point = f->code_point << 6 | (byte & 0x3f);
            f->utf8_low = 0x80;
            f->utf8_high = 0xbf;
            f->utf8_seen++;
            f->utf8_need--;
            return f->utf8_need == 0 ? on_char(f, f->code_point, out) : 0;
        }
        f->utf8_need = 0;
        int rc = on_invalid(f, f->utf8_seen, out);
        if (rc < 0) {
            return rc;
        }
    }
    if (byte < 0x80) {
        count_ascii(f, byte);
        return on_char(f, byte, out);
    }
    return start_char(f, byte) ? 0 : on_invalid(f, 1, out);
}

/* How many bytes from `data` on are printable ASCII, \n or \t. */
static size_t plain_run(const char *data, size_t len)
{
    size_t n = 0;
    while (n < len && ((data[n] >= 0x20 && data[n] < 0x7f) || data[n] == '\n' || data[n] == '\t')) {
        n++;
    }
    return n;
}

int ah_text_filter_feed(struct ah_text_filter *filter, const char *data, size_t len,
                        struct ah_buf *out)
{
    filter->bytes += len;
    for (size_t at = 0; at < len;) {
        int rc;
        size_t run = 0;
        if (filter->state == GROUND && filter->utf8_need == 0 && !filter->cr_pending) {
            run = plain_run(data + at, len - at);
        }
        if (run > 0) {
            rc = ah_buf_add(out, data + at, run);
            at += run;
        } else {
            rc = step(filter, (uint8_t)data[at], out);
            at++;
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int ah_text_filter_finish(struct ah_text_filter *filter, struct ah_buf *out)
{
    int rc = 0;
    if (filter->utf8_need > 0) {
        filter->utf8_need = 0;
        rc = on_invalid(filter, filter->utf8_seen, out);
    }
    if (rc == 0) {
        char byte;
        rc = ah_buf_add(out, &byte, settle_cr(filter, 0, &byte));
    }
    filter->state = GROUND;
    filter->cr_pending = false;
    return rc;
}

/* ---- whole texts ---- */

static size_t drop_chars(const char *text, size_t start_of_line, size_t end, size_t count)
{
    while (count > 0 && end > start_of_line) {
        end--;
        while (end > start_of_line && (text[end] & 0xc0) == 0x80) {
            end--;
        }
        count--;
    }
    return end;
}

/* Resolves \r and \b in place; the text only gets shorter. Returns its new length. */
static size_t resolve_lines(char *text, size_t len)
{
    size_t end = 0;
    size_t start_of_line = 0;
    size_t back = 0; /* characters that the next one takes the place of; SIZE_MAX: the whole line */
    for (size_t at = 0; at < len; at++) {
        char c = text[at];
        if (c == '\r') {
            back = SIZE_MAX;
        } else if (c == '\b') {
            back += back < SIZE_MAX;
        } else if (c == '\n') {
            text[end++] = c;
            start_of_line = end;
            back = 0;
        } else {
            if (back > 0) {
                end = drop_chars(text, start_of_line, end, back);
                back = 0;
            }
            text[end++] = c;
        }
    }
    return end;
}

static bool looks_binary(const struct ah_text_filter *f, const char *in)
{
    if (f->bytes >= 2 && (memcmp(in, "\xff\xfe", 2) == 0 || memcmp(in, "\xfe\xff", 2) == 0)) {
        return true;
    }
    size_t odd = f->replaced + f->controls;
    return f->nuls >= 32 || f->nuls > f->bytes / 100 ||
           (odd >= 8 && (double)odd > 0.3 * (double)f->bytes);
}

int ah_text_clean(const char *in, size_t len, struct ah_buf *out, struct ah_text_info *info)
{
    struct ah_text_filter filter;
    size_t before = out->len;
    ah_text_filter_init(&filter, AH_TEXT_CR_KEEP);
    int rc = ah_text_filter_feed(&filter, in, len, out);
    if (rc == 0) {
        rc = ah_text_filter_finish(&filter, out);
    }
    if (rc < 0) {
        out->len = before;
    } else if (out->len > before) {
        out->len = before + resolve_lines(out->data + before, out->len - before);
    }
    if (out->data != NULL) {
        out->data[out->len] = '\0';
    }
    if (rc == 0 && info != NULL) {
        info->binary = looks_binary(&filter, in);
        info->bytes = len;
        info->replaced = filter.replaced;
    }
    return rc;
}
