/*
 * Errors that a person will read.
 *
 * A function that can fail returns 0 or a negative errno. Where the reason is worth a sentence it
 * also fills a struct ah_err: what went wrong, where, and what would be right, in one line without
 * a line break. Not for broken invariants: those are assert().
 */
#pragma once

struct ah_err {
    int code; /* negative errno, the same as the return value */
    char msg[256];
};

/* Fills err (which may be NULL) and returns code, so that `return ah_err_set(err, -EINVAL, ...)`
 * reads well. A message that does not fit is cut. */
int ah_err_set(struct ah_err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As ah_err_set, with ": <text of code>" behind the message. */
int ah_err_sys(struct ah_err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
