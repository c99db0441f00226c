/*
 * The lines that were entered before, kept in memory and in a file, and the walk through them with
 * the arrow keys.
 *
 * Not for what else a program logs: a line here is at most 64 KiB, blank lines and the same line
 * again are left out, and old ones are forgotten. Several processes may share a file.
 *
 * A walk starts at the line that is being typed, which is remembered until it is over: step and
 * search give the line to show in its place. ah_history_leave ends the walk: the line was entered
 * or given up.
 */
#pragma once

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct ah_history;

/* Remembers at most `max` lines. With a path (NULL: none) it begins with those of the file, which
 * is made if it is missing, gets mode 0600, and is cut to `max` lines when it has more than twice
 * as many (or 4 MiB). The directory has to exist. *ret_history is *owned*. */
int ah_history_new(size_t max, const char *path, struct ah_history **ret_history,
                   struct ah_err *err);

/* NULL is allowed. */
void ah_history_free(struct ah_history *history);

/* Remembers a line, and appends it to the file with one write. Control characters in it become
 * spaces. 0 also when it was left out; negative errno when it could not be remembered (-ENOMEM) or
 * not be written, then it is remembered all the same. */
int ah_history_add(struct ah_history *history, const char *text, size_t len, struct ah_err *err);

/* The next older or newer line; behind the newest comes what was typed. NULL when there is none (or
 * no memory): nothing has changed. `typed` is what stands in the line now. The result is borrowed
 * until the next call. */
const char *ah_history_step(struct ah_history *history, bool older, const char *typed);

/* As ah_history_step, for the next line that contains what was typed when the search began (and
 * never what was typed itself). */
const char *ah_history_search(struct ah_history *history, bool older, const char *typed);

/* The next search is a new one. */
void ah_history_end_search(struct ah_history *history);

/* Ends walk and search. */
void ah_history_leave(struct ah_history *history);
