#include "prompt.h"

#include "utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MARK 1

/* The length of the escape sequence at `text`, or 0. */
static size_t escape_length(const char *text)
{
    if (text[0] != '\033' || text[1] != '[') {
        return 0;
    }
    size_t len = 2 + strspn(text + 2, "0123456789;:?");
    return text[len] != '\0' ? len + 1 : len;
}

wchar_t *ah_prompt_widen(const char *text)
{
    size_t len = strlen(text);
    wchar_t *wide = calloc(3 * len + 8, sizeof *wide);
    if (wide == NULL) {
        return NULL;
    }
    size_t count = 0;
    size_t start = 0; /* of the last sequences */
    bool marked = false;
    for (size_t at = 0; at < len;) {
        size_t escape = escape_length(text + at);
        if (escape > 0) {
            if (!marked) {
                start = count;
                wide[count++] = MARK;
                marked = true;
            }
            for (size_t i = 0; i < escape; i++) {
                wide[count++] = (unsigned char)text[at + i];
            }
            at += escape;
            continue;
        }
        uint32_t c = 0;
        size_t used = ah_utf8_decode(text + at, len - at, &c);
        at += used > 0 ? used : len - at;
        if (used == 0 || wcwidth((wchar_t)c) <= 0) {
            continue;
        }
        if (marked) {
            wide[count++] = MARK;
            marked = false;
        }
        wide[count++] = (wchar_t)c;
    }
    if (marked) {
        if (start > 0 && wide[start - 1] == L' ') {
            memmove(wide + start - 1, wide + start, (count - start) * sizeof *wide);
            count--;
        }
        wide[count++] = MARK;
        wide[count++] = L' ';
    }
    wide[count] = L'\0';
    return wide;
}

char *ah_prompt_strip(const char *text)
{
    char *plain = malloc(strlen(text) + 1);
    if (plain == NULL) {
        return NULL;
    }
    size_t count = 0;
    for (size_t at = 0; text[at] != '\0';) {
        size_t escape = escape_length(text + at);
        if (escape == 0 && (unsigned char)text[at] >= 0x20 && text[at] != 0x7f) {
            plain[count++] = text[at];
        }
        at += escape > 0 ? escape : 1;
    }
    plain[count] = '\0';
    return plain;
}
