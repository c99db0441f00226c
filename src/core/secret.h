/*
 * Secrets from the environment (API keys): kept by the host, unseen by the commands it runs.
 *
 * Not a vault: a secret is plain in this process's memory, and what Lua asks for becomes a Lua
 * string. It keeps keys out of the environment of children, out of /proc/PID/environ (which a
 * command of the same user can read), and out of texts that go to a model or a log.
 *
 * ah_secret_hide changes the environment: it has to be called before threads start, and before
 * anything calls setenv or putenv (a value replaced by setenv stays in the original memory).
 * Everything else only reads the store and may be called from any thread.
 */
#pragma once

#include "buf.h"

#include <stddef.h>

/* Values shorter than this are not redacted: they would hit ordinary words. */
#define AH_SECRET_REDACT_MIN 8

struct ah_secret_store;

/* *Owned*; NULL when out of memory. */
struct ah_secret_store *ah_secret_new(void);

/* Overwrites and frees all. NULL is fine. */
void ah_secret_free(struct ah_secret_store *store);

/* Moves the variables whose names match the fnmatch pattern ("*_API_KEY") from the environment into
 * the store and overwrites their strings. A name that the store has already gets the new value.
 * The number of variables, or -ENOMEM: then the environment is as it was. */
int ah_secret_hide(struct ah_secret_store *store, const char *pattern);

/* The value, or NULL. Borrowed from the store. */
const char *ah_secret_get(const struct ah_secret_store *store, const char *name);

/* Appends the text to `out` with each value of at least AH_SECRET_REDACT_MIN bytes replaced by
 * <NAME>. Finds values as they are, not encoded ones. 0, -ENOMEM or -EMSGSIZE (then `out` is as it
 * was). */
int ah_secret_redact(const struct ah_secret_store *store, const char *text, size_t len,
                     struct ah_buf *out);
