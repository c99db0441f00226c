/*
 * A prompt with colours, for those who draw it: libedit, which has to be told what takes no
 * columns, and terminals that show no colours. One line: control characters are dropped.
 *
 * A colour is ESC [ digits and ; and a letter. Text is UTF-8.
 */
#pragma once

#include <wchar.h>

/* For libedit's EL_PROMPT_ESC: escape sequences stand between two \1. libedit prints a sequence
 * together with the character behind it, which must be there and have a width, and loses one of two
 * sequences side by side. So neighbours become one, and one at the end goes in front of the
 * prompt's last space, or gets one. *Owned*; NULL when out of memory. wcwidth is asked: the locale
 * has to be a UTF-8 one. */
wchar_t *ah_prompt_widen(const char *text);

/* Without escape sequences. *Owned*; NULL when out of memory. */
char *ah_prompt_strip(const char *text);
