/*
 * One edited line at the bottom of the terminal, for a program that waits elsewhere: keys become
 * text, earlier lines come back, and what the program prints goes above.
 *
 * Nothing here waits: whoever watches stdin calls ah_editor_feed when it is readable. On a terminal
 * that cannot be drawn on ("plain", TERM=dumb) the terminal driver edits the line, and only the
 * prompt is printed.
 *
 * A paste of one line is typed text. One of several lines stands in the line as a label, "[paste 1:
 * 2000 lines]", and comes out as what it was; it never ends the line by itself.
 *
 * Not for pictures, menus or more than one line, and it knows no commands: Ctrl-C and Ctrl-Z stay
 * signals. Main thread only; one editor a process. Text is UTF-8 without NUL bytes.
 */
#pragma once

#include "buf.h"
#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct ah_editor;

struct ah_editor_options {
    const char *prompt;  /* see ah_editor_set_prompt */
    const char *history; /* file; NULL: kept in memory only */
    size_t history_max;  /* lines */
};

/* Takes the terminal (terminal.h); starts hidden. Everything in options is copied. *ret_editor is
 * *owned*. -ENOTTY, -EBUSY (there is one), or why the history file cannot be used. */
int ah_editor_new(const struct ah_editor_options *options, struct ah_editor **ret_editor,
                  struct ah_err *err);

/* Takes the prompt off the screen and gives the terminal back. NULL is allowed. */
void ah_editor_free(struct ah_editor *ed);

bool ah_editor_is_plain(const struct ah_editor *ed);

/* The descriptor to watch. Borrowed. */
int ah_editor_fd(const struct ah_editor *ed);

/* Takes what has been typed, at most 64 KiB; the rest stays readable. Each line that was finished
 * is appended to `lines` with a NUL behind it. Returns whether this was the end: Ctrl-D on an empty
 * line, or the terminal is gone. While suspended it reads nothing. */
bool ah_editor_feed(struct ah_editor *ed, struct ah_buf *lines);

/* Whether ESC was pressed alone and nothing has followed for 50 ms: to be asked a little after a
 * feed. Whether Tab was the last key. Both are forgotten by asking. */
bool ah_editor_take_escape(struct ah_editor *ed);
bool ah_editor_take_tab(struct ah_editor *ed);

/* ---- the screen ---- */

/* Shown: the prompt and the line are drawn; the cursor has to be at the start of a row. Hidden:
 * they are taken off, and the cursor is left where the prompt was. Keys edit in either state. */
void ah_editor_set_shown(struct ah_editor *ed, bool shown);

/* Prints above the prompt, with a newline if the text does not end with one. */
void ah_editor_print(struct ah_editor *ed, const char *text, size_t len);

/* One line; colours (ESC [ ... m) take no columns. 0 or -ENOMEM, then the old one stays. */
int ah_editor_set_prompt(struct ah_editor *ed, const char *prompt);

/* To be called after SIGWINCH. */
void ah_editor_resize(struct ah_editor *ed);

/* Gives the terminal back as it was, the prompt off the screen; takes it again and draws. */
void ah_editor_suspend(struct ah_editor *ed);
void ah_editor_resume(struct ah_editor *ed);

/* ---- the half-typed line ---- */

/* Appends it, as it is shown or with the pastes whole. 0 or -ENOMEM. */
int ah_editor_text(const struct ah_editor *ed, struct ah_buf *out);
int ah_editor_whole_text(const struct ah_editor *ed, struct ah_buf *out);

/* As if typed; control characters become spaces. False when plain: the terminal driver has it. */
bool ah_editor_insert(struct ah_editor *ed, const char *text, size_t len);

void ah_editor_discard(struct ah_editor *ed);

/* Remembers an earlier line: see ah_history_add. */
int ah_editor_remember(struct ah_editor *ed, const char *text, size_t len, struct ah_err *err);
