#include "utf8.h"

size_t ah_utf8_decode(const char *text, size_t len, uint32_t *ret_char)
{
    const uint8_t *b = (const uint8_t *)text;
    if (b[0] < 0x80) {
        *ret_char = b[0];
        return 1;
    }
    size_t need = b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
    uint32_t c = b[0] & (0xffu >> (need + 1));
    /* What the second byte may be: no overlong form, no surrogate, nothing above U+10FFFF. */
    uint8_t low = b[0] == 0xe0 ? 0xa0 : b[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = b[0] == 0xed ? 0x9f : b[0] == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < need; i++) {
        if (i == len) {
            return 0;
        }
        if (b[i] < low || b[i] > high) {
            need = 0;
            break;
        }
        c = c << 6 | (b[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    *ret_char = need > 0 ? c : AH_UTF8_INVALID;
    return need > 0 ? need : 1;
}

size_t ah_utf8_encode(uint32_t c, char *bytes)
{
    if (c < 0x80) {
        bytes[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        bytes[0] = (char)(0xc0 | c >> 6);
        bytes[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        bytes[0] = (char)(0xe0 | c >> 12);
        bytes[1] = (char)(0x80 | (c >> 6 & 0x3f));
        bytes[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    bytes[0] = (char)(0xf0 | c >> 18);
    bytes[1] = (char)(0x80 | (c >> 12 & 0x3f));
    bytes[2] = (char)(0x80 | (c >> 6 & 0x3f));
    bytes[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}
