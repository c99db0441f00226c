/*
 * A notice: one event for an agent, as a small flat record of named values.
 *
 * Flat, so that the thread that makes one, the queue, the ledger and Lua agree on its shape without
 * sharing a data model. Not for bulk data: a task's output stays in its file, the notice names it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ah_field_type { AH_FIELD_TEXT, AH_FIELD_INTEGER, AH_FIELD_NUMBER, AH_FIELD_FLAG };

struct ah_field {
    char *name;
    enum ah_field_type type;
    union {
        struct {
            char *data; /* NUL-terminated beyond len */
            size_t len;
        } text;
        int64_t integer;
        double number;
        bool flag;
    } as;
};

struct ah_notice {
    struct ah_notice *next; /* for the list that holds it */
    uint64_t seq;           /* given by the queue; 0 before */
    size_t count;
    size_t cap;
    struct ah_field *fields;
};

#define AH_NOTICE_MAX_FIELDS 64

/* NULL when out of memory. */
struct ah_notice *ah_notice_new(void);
void ah_notice_free(struct ah_notice *notice); /* NULL is allowed */

/* Each adds a field; names are not checked for repeats. 0, -ENOMEM, or -E2BIG beyond
 * AH_NOTICE_MAX_FIELDS. A NULL data adds nothing. */
int ah_notice_add_text(struct ah_notice *notice, const char *name, const char *data, size_t len);
int ah_notice_add_integer(struct ah_notice *notice, const char *name, int64_t value);
int ah_notice_add_number(struct ah_notice *notice, const char *name, double value);
int ah_notice_add_flag(struct ah_notice *notice, const char *name, bool value);
