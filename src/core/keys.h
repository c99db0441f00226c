/*
 * The bytes that a terminal sends, cut into keys.
 *
 * The sequences are those that xterm, its descendants and the Linux console have in common, so
 * neither terminfo nor stty is asked what a key does. Not for everything that a terminal can say: a
 * sequence that is not known here is cut off whole and means nothing.
 *
 * No state: whoever reads keeps the bytes that are not a whole key yet. Half a key may stay half
 * for ever (somebody pressed ESC): what has waited for AH_KEYS_PATIENCE when more comes is to be
 * dropped.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define AH_KEYS_PASTE_END "\033[201~"
#define AH_KEYS_PATIENCE ((int64_t)500 * 1000 * 1000) /* ns */

enum ah_key {
    AH_KEY_NONE, /* to be ignored */
    AH_KEY_TEXT, /* a run of text; what is not UTF-8 is in it as it is */
    AH_KEY_EOF,
    AH_KEY_ENTER,
    AH_KEY_OLDER, /* in the history */
    AH_KEY_NEWER,
    AH_KEY_SEARCH_OLDER,
    AH_KEY_SEARCH_NEWER,
    AH_KEY_CLEAR_SCREEN,
    AH_KEY_BEGIN,
    AH_KEY_END,
    AH_KEY_LEFT,
    AH_KEY_RIGHT,
    AH_KEY_WORD_LEFT,
    AH_KEY_WORD_RIGHT,
    AH_KEY_ERASE,  /* before the cursor */
    AH_KEY_DELETE, /* behind it */
    AH_KEY_ERASE_WORD,
    AH_KEY_DELETE_WORD,
    AH_KEY_KILL_BEFORE,
    AH_KEY_KILL_AFTER,
    AH_KEY_YANK,
    AH_KEY_TRANSPOSE,
    AH_KEY_UPPER,
    AH_KEY_LOWER,
    AH_KEY_CAPITAL,
    AH_KEY_TAB,
    AH_KEY_PASTE, /* a paste begins: what follows is text up to AH_KEYS_PASTE_END */
    AH_KEY_COUNT
};

/* Control characters that the user has chosen with stty; 0: none. */
struct ah_keys_chosen {
    unsigned char eof;
    unsigned char erase;
};

/* Cuts off the key at the start of the bytes: returns its length, or 0 when it is not whole yet. */
size_t ah_keys_cut(const struct ah_keys_chosen *chosen, const char *bytes, size_t len,
                   enum ah_key *ret_key);
