/*
 * Characters and their bytes in UTF-8, one at a time. Strict: no overlong forms, no surrogates,
 * nothing above U+10FFFF. Not for cleaning whole texts: that is text.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define AH_UTF8_MAX 4           /* bytes of one character */
#define AH_UTF8_INVALID 0xFFFDu /* stands for a byte that belongs to no character */

/* The character at the start of `text` (len >= 1): returns how many bytes it takes, or 0 when it
 * may go on behind the end. A byte with which no character starts, or whose character is broken,
 * is AH_UTF8_INVALID and takes 1. */
size_t ah_utf8_decode(const char *text, size_t len, uint32_t *ret_char);

/* Writes the bytes of a character (at most U+10FFFF) and returns how many: 1 to AH_UTF8_MAX. */
size_t ah_utf8_encode(uint32_t c, char *bytes);
