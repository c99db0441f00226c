/*
 * The strings of JSON: where one ends, what it stands for, and writing one. All else of JSON is
 * done in Lua (agenthost.json); strings are most of its bytes, and a model's reply is one long
 * string.
 */
#pragma once

#include "buf.h"

#include <stdbool.h>

/* The quote that ends the string whose inside begins at `from`, or NULL: `end` comes first. */
const char *ah_json_string_end(const char *from, const char *end);

/* How many bytes at the start of the inside of a string stand for themselves: all but escapes,
 * control characters and broken UTF-8. */
size_t ah_json_string_plain(const char *in, size_t len);

/* Appends what the inside of a string stands for. Broken UTF-8 (each byte that breaks it, with the
 * continuation bytes behind it) and lone surrogates become U+FFFD. -EINVAL: a control character or
 * an escape that JSON does not have, at in[*ret_at], and *ret_is_control says which; `out` has a
 * part then. -ENOMEM, or -EMSGSIZE from `out`. */
int ah_json_string_decode(const char *in, size_t len, struct ah_buf *out, size_t *ret_at,
                          bool *ret_is_control);

/* Appends `text` as a JSON string with its quotes: always the same bytes for the same text. Only
 * what has to be is escaped, and DEL. Broken UTF-8 becomes U+FFFD as above. -ENOMEM or -EMSGSIZE.
 */
int ah_json_string_quote(const char *text, size_t len, struct ah_buf *out);
