#include "keys.h"

#include "utf8.h"

#include <stdbool.h>
#include <string.h>

#define ESC '\033'
#define ESCAPE_MAX 32 /* bytes of one sequence; what follows is something else */

struct binding {
    const char *bytes; /* behind ESC for the second table */
    enum ah_key key;
};

static const struct binding controls[] = {
    {"\1", AH_KEY_BEGIN},        {"\2", AH_KEY_LEFT},       {"\5", AH_KEY_END},
    {"\6", AH_KEY_RIGHT},        {"\10", AH_KEY_ERASE},     {"\177", AH_KEY_ERASE},
    {"\11", AH_KEY_TAB},         {"\12", AH_KEY_ENTER},     {"\15", AH_KEY_ENTER},
    {"\13", AH_KEY_KILL_AFTER},  {"\16", AH_KEY_NEWER},     {"\14", AH_KEY_CLEAR_SCREEN},
    {"\20", AH_KEY_OLDER},       {"\24", AH_KEY_TRANSPOSE}, {"\22", AH_KEY_SEARCH_OLDER},
    {"\25", AH_KEY_KILL_BEFORE}, {"\31", AH_KEY_YANK},      {"\27", AH_KEY_ERASE_WORD},
};

static const struct binding escapes[] = {
    {"[A", AH_KEY_OLDER},         {"[B", AH_KEY_NEWER},         {"[C", AH_KEY_RIGHT},
    {"[D", AH_KEY_LEFT},          {"[H", AH_KEY_BEGIN},         {"[F", AH_KEY_END},
    {"OA", AH_KEY_OLDER},         {"OB", AH_KEY_NEWER},         {"OC", AH_KEY_RIGHT},
    {"OD", AH_KEY_LEFT},          {"OH", AH_KEY_BEGIN},         {"OF", AH_KEY_END},
    {"[1~", AH_KEY_BEGIN},        {"[4~", AH_KEY_END},          {"[7~", AH_KEY_BEGIN},
    {"[8~", AH_KEY_END},          {"[3~", AH_KEY_DELETE},       {"[3;5~", AH_KEY_DELETE_WORD},
    {"[5~", AH_KEY_SEARCH_OLDER}, {"[6~", AH_KEY_SEARCH_NEWER}, {"[1;5C", AH_KEY_WORD_RIGHT},
    {"[1;5D", AH_KEY_WORD_LEFT},  {"[1;3C", AH_KEY_WORD_RIGHT}, {"[1;3D", AH_KEY_WORD_LEFT},
    {"[5C", AH_KEY_WORD_RIGHT},   {"[5D", AH_KEY_WORD_LEFT},    {"b", AH_KEY_WORD_LEFT},
    {"f", AH_KEY_WORD_RIGHT},     {"d", AH_KEY_DELETE_WORD},    {"\177", AH_KEY_ERASE_WORD},
    {"\10", AH_KEY_ERASE_WORD},   {"u", AH_KEY_UPPER},          {"l", AH_KEY_LOWER},
    {"[200~", AH_KEY_PASTE},      {"c", AH_KEY_CAPITAL},        {"p", AH_KEY_SEARCH_OLDER},
    {"n", AH_KEY_SEARCH_NEWER},
};

#define FIND(table, bytes, len) find(table, sizeof(table) / sizeof *(table), bytes, len)
static enum ah_key find(const struct binding *table, size_t count, const char *bytes, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(table[i].bytes) == len && memcmp(table[i].bytes, bytes, len) == 0) {
            return table[i].key;
        }
    }
    return AH_KEY_NONE;
}

/* How many bytes at the start are whole characters of text. */
static size_t text_run(const char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len) {
        uint32_t c;
        size_t used = ah_utf8_decode(bytes + at, len - at, &c);
        bool control = used > 0 && (c < 0x20 || (c >= 0x7f && c < 0xa0));
        if (used == 0 || control) {
            break;
        }
        at += used;
    }
    return at;
}

/* The length of the sequence at `bytes` (ESC first); 0 when more has to come. */
static size_t escape_length(const char *bytes, size_t len)
{
    uint32_t c;
    if (len < 2) {
        return 0;
    }
    if (bytes[1] == ESC) {
        return 1; /* Alt with an arrow is ESC ESC [ A: the first ESC says nothing here */
    }
    if (bytes[1] == 'O') {
        return len < 3 ? 0 : 3;
    }
    if (bytes[1] != '[') {
        size_t used = ah_utf8_decode(bytes + 1, len - 1, &c);
        return used > 0 ? 1 + used : 0;
    }
    size_t at = len > 2 && bytes[2] == '[' ? 3 : 2; /* ESC [ [ A: F1 on the Linux console */
    for (; at < len && at < ESCAPE_MAX; at++) {
        c = (unsigned char)bytes[at];
        if (c >= 0x40 && c <= 0x7e) {
            return at + 1;
        }
        if (c < 0x20 || c > 0x7e) {
            return at; /* not a sequence after all */
        }
    }
    return at < ESCAPE_MAX ? 0 : at;
}

size_t ah_keys_cut(const struct ah_keys_chosen *chosen, const char *bytes, size_t len,
                   enum ah_key *ret_key)
{
    size_t used = text_run(bytes, len);
    if (used > 0 || len == 0) {
        *ret_key = AH_KEY_TEXT;
        return used;
    }
    unsigned char c = (unsigned char)*bytes;
    if (c == ESC) {
        used = escape_length(bytes, len);
        *ret_key = used > 1 ? FIND(escapes, bytes + 1, used - 1) : AH_KEY_NONE;
        return used;
    }
    if (c >= 0x80) { /* a C1 control, or half a character */
        uint32_t ignored;
        *ret_key = AH_KEY_NONE;
        return ah_utf8_decode(bytes, len, &ignored);
    }
    if (c != 0 && c == chosen->eof) {
        *ret_key = AH_KEY_EOF;
    } else if (c != 0 && c == chosen->erase) {
        *ret_key = AH_KEY_ERASE;
    } else {
        *ret_key = FIND(controls, bytes, 1);
    }
    return 1;
}
