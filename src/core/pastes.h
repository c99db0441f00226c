/*
 * What was pasted into one line of input and has lines of its own: kept aside, with a label in the
 * line that stands for it.
 *
 * Life: begin, add as it comes, end; then the next one; expand when the line is finished, and
 * clear. Main thread only.
 */
#pragma once

#include "buf.h"

#define AH_PASTES_MAX 64 /* in one line */
#define AH_PASTE_BYTES \
    ((size_t)1024 * 1024) /* of one; what is more is dropped, and the label says so */

struct ah_pastes;

/* *Owned*; NULL when out of memory. */
struct ah_pastes *ah_pastes_new(void);
void ah_pastes_free(struct ah_pastes *pastes);

void ah_pastes_begin(struct ah_pastes *pastes);
void ah_pastes_add(struct ah_pastes *pastes, const char *bytes, size_t len);

/* *ret_text is what goes into the line: the text itself when it is one line, else its label.
 * Borrowed until the next call. Line ends become LF, those at the end are dropped, and other
 * control characters but tabs become spaces. -ENOMEM, or -ENOSPC when there are AH_PASTES_MAX. */
int ah_pastes_end(struct ah_pastes *pastes, const char **ret_text);

/* Appends `line` with each label replaced by what it stands for. 0 or -ENOMEM. */
int ah_pastes_expand(const struct ah_pastes *pastes, const char *line, struct ah_buf *out);

void ah_pastes_clear(struct ah_pastes *pastes);
