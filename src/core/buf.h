/*
 * A byte buffer that grows, with a limit.
 *
 * For building and collecting bytes of unknown length. Not for text with meaning: it knows no
 * encoding. `data` is always followed by a NUL byte that is not counted in `len`, so that a buffer
 * of text can be handed to C functions.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct ah_buf {
    char *data; /* NULL until the first byte is added */
    size_t len;
    size_t cap;
    size_t max; /* most bytes it may hold; 0: no limit of its own */
};

/* In place. `max` in bytes, 0 for none. Never fails. */
void ah_buf_init(struct ah_buf *buf, size_t max);

/* Frees the bytes and leaves an empty buffer with the same limit. */
void ah_buf_clear(struct ah_buf *buf);

/* Appends. 0, -ENOMEM, or -EMSGSIZE when `max` would be passed (then nothing is added). */
int ah_buf_add(struct ah_buf *buf, const void *data, size_t len);
int ah_buf_add_str(struct ah_buf *buf, const char *text);
int ah_buf_addf(struct ah_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes room for `more` bytes behind `len` without adding them. 0, -ENOMEM or -EMSGSIZE. */
int ah_buf_reserve(struct ah_buf *buf, size_t more);

/* Drops the first `count` bytes (at most `len`). */
void ah_buf_consume(struct ah_buf *buf, size_t count);

/* The bytes as text: never NULL. Borrowed until the next change. */
const char *ah_buf_str(const struct ah_buf *buf);
