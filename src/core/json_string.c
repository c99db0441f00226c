#include "json_string.h"

#include "utf8.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define ONES (UINT64_MAX / 255) /* a byte 01 eight times */

/* Nonzero if one of the eight bytes is a control character, a quote, a backslash or above 0x7e. May
 * be so without reason, too: then the byte is looked at by itself. */
static uint64_t special_in(uint64_t word)
{
    uint64_t quote = word ^ (ONES * '"');
    uint64_t backslash = word ^ (ONES * '\\');
    uint64_t del = word ^ (ONES * 0x7f);
    uint64_t low = (word - ONES * 0x20) | (quote - ONES) | (backslash - ONES) | (del - ONES);
    return (low | word) & (ONES * 0x80);
}

/* Bytes at the start that are ASCII and mean nothing in a JSON string. */
static size_t count_simple(const char *in, size_t len)
{
    size_t at = 0;
    for (uint64_t word; at + sizeof word <= len; at += sizeof word) {
        memcpy(&word, in + at, sizeof word);
        if (special_in(word) != 0) {
            break;
        }
    }
    while (at < len && (unsigned char)in[at] >= 0x20 && (unsigned char)in[at] < 0x7f &&
           in[at] != '"' && in[at] != '\\') {
        at++;
    }
    return at;
}

/* Bytes of the character at in[0], which is not ASCII; 0 when it is broken, and then *ret_skip
 * bytes are to be replaced. */
static size_t character_at(const char *in, size_t len, size_t *ret_skip)
{
    uint32_t c;
    size_t bytes = ah_utf8_decode(in, len, &c);
    if (bytes > 1) {
        return bytes;
    }
    size_t skip = 1;
    while (skip < len && ((unsigned char)in[skip] & 0xc0) == 0x80) {
        skip++;
    }
    *ret_skip = skip;
    return 0;
}

static int add_char(struct ah_buf *out, uint32_t c)
{
    char bytes[AH_UTF8_MAX];
    return ah_buf_add(out, bytes, ah_utf8_encode(c, bytes));
}

const char *ah_json_string_end(const char *from, const char *end)
{
    const char *quote = from;
    while ((quote = memchr(quote, '"', (size_t)(end - quote))) != NULL) {
        const char *escape = quote;
        while (escape > from && escape[-1] == '\\') {
            escape--;
        }
        if ((quote - escape) % 2 == 0) {
            break;
        }
        quote++;
    }
    return quote;
}

size_t ah_json_string_plain(const char *in, size_t len)
{
    size_t at = 0;
    size_t skip;
    while ((at += count_simple(in + at, len - at)) < len) {
        unsigned char c = (unsigned char)in[at];
        size_t bytes = c >= 0x80 ? character_at(in + at, len - at, &skip) : c == '"' || c == 0x7f;
        if (bytes == 0) {
            break;
        }
        at += bytes;
    }
    return at;
}

/* ---- decoding ---- */

/* The number of four hexadecimal digits, or -1. */
static int32_t hex4(const char *in, const char *end)
{
    int32_t value = 0;
    if (end - in < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = in[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* Adds what the escape at `in` stands for: its length, 0 when there is no such escape, or a
 * negative errno. */
static int take_escape(const char *in, const char *end, struct ah_buf *out)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const char *name = end - in >= 2 && in[1] != '\0' ? strchr(names, in[1]) : NULL;
    if (name != NULL) {
        int rc = ah_buf_add(out, &values[name - names], 1);
        return rc < 0 ? rc : 2;
    }
    int32_t code = end - in >= 2 && in[1] == 'u' ? hex4(in + 2, end) : -1;
    if (code < 0) {
        return 0;
    }
    int taken = 6;
    if (code >= 0xd800 && code <= 0xdfff) {
        bool has_next = code <= 0xdbff && end - in >= 8 && in[6] == '\\' && in[7] == 'u';
        int32_t low = has_next ? hex4(in + 8, end) : -1;
        if (low >= 0xdc00 && low <= 0xdfff) {
            code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
            taken = 12;
        } else {
            code = AH_UTF8_INVALID;
        }
    }
    int rc = add_char(out, (uint32_t)code);
    return rc < 0 ? rc : taken;
}

int ah_json_string_decode(const char *in, size_t len, struct ah_buf *out, size_t *ret_at,
                          bool *ret_is_control)
{
    size_t at = 0;
    int rc = ah_buf_reserve(out, len);
    while (rc == 0 && at < len) {
        size_t plain = ah_json_string_plain(in + at, len - at);
        size_t skip = 0;
        rc = ah_buf_add(out, in + at, plain);
        at += plain;
        if (rc < 0 || at == len) {
            break;
        }
        if ((unsigned char)in[at] >= 0x80) {
            character_at(in + at, len - at, &skip);
            rc = add_char(out, AH_UTF8_INVALID);
            at += skip;
            continue;
        }
        int taken = in[at] == '\\' ? take_escape(in + at, in + len, out) : 0;
        if (taken == 0) {
            *ret_at = at;
            *ret_is_control = in[at] != '\\';
            return -EINVAL;
        }
        at += taken > 0 ? (size_t)taken : 0;
        rc = taken < 0 ? taken : 0;
    }
    return rc;
}

/* ---- writing ---- */

static int add_escape(struct ah_buf *out, unsigned char c)
{
    static const char *const shorts[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    if (c == '"' || c == '\\') {
        return ah_buf_add(out, c == '"' ? "\\\"" : "\\\\", 2);
    }
    if (c < sizeof shorts / sizeof *shorts && shorts[c] != NULL) {
        return ah_buf_add(out, shorts[c], 2);
    }
    return ah_buf_addf(out, "\\u%04x", c);
}

int ah_json_string_quote(const char *text, size_t len, struct ah_buf *out)
{
    size_t at = 0;
    int rc = ah_buf_reserve(out, len + 2);
    if (rc == 0) {
        rc = ah_buf_add(out, "\"", 1);
    }
    while (rc == 0 && at < len) {
        size_t simple = count_simple(text + at, len - at);
        size_t skip = 0;
        rc = ah_buf_add(out, text + at, simple);
        at += simple;
        if (rc < 0 || at == len) {
            break;
        }
        if ((unsigned char)text[at] < 0x80) {
            rc = add_escape(out, (unsigned char)text[at]);
            at++;
            continue;
        }
        size_t bytes = character_at(text + at, len - at, &skip);
        rc = bytes > 0 ? ah_buf_add(out, text + at, bytes) : add_char(out, AH_UTF8_INVALID);
        at += bytes + skip;
    }
    return rc < 0 ? rc : ah_buf_add(out, "\"", 1);
}
