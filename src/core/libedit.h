/*
 * One line of text that libedit edits and draws. The only module that knows libedit.
 *
 * What libedit is not given:
 * - Reading. Its own reader blocks inside a key (a lone ESC, half a UTF-8 character, ^R, ^V), and
 *   with it the whole host. It is handed one whole command at a time (keys.h). That needs
 *   histedit.h with EL_UNBUFFERED and EL_GETCFN: the callback functions of readline.h are the same
 *   thing without EL_GETCFN.
 * - The history (history.h): libedit keeps only 1,024 characters of the half-typed line while older
 *   lines are looked at, and drops a trailing space.
 * - ~/.editrc: it could bind commands that block.
 *
 * All text is UTF-8 whatever LANG says. While the line is hidden libedit goes on as ever, but what
 * it draws is dropped. stdout is flushed before anything is drawn.
 */
#pragma once

#include "buf.h"
#include "err.h"
#include "keys.h"

#include <stdbool.h>
#include <stddef.h>

struct ah_libedit;

/* Takes the modes of the terminal (terminal.h has to know) and starts hidden, with an empty line.
 * *ret_libedit is *owned*; NULL where the terminal cannot do what drawing takes, then libedit is
 * not there. `prompt`: see prompt.h. */
int ah_libedit_new(const char *prompt, struct ah_libedit **ret_libedit, struct ah_err *err);

/* Leaves screen and modes as they are: hide before, and restore after. NULL is allowed. */
void ah_libedit_free(struct ah_libedit *le);

/* The modes that editing takes, or those of before. While they are those of before the line has to
 * be hidden, and only insert, replace, text, length and resize may be called. */
void ah_libedit_set_raw(struct ah_libedit *le, bool raw);

/* ---- the text ---- */

size_t ah_libedit_length(const struct ah_libedit *le); /* characters */

/* Appends the line. 0 or -ENOMEM, then nothing is added. */
int ah_libedit_text(const struct ah_libedit *le, struct ah_buf *out);

/* Puts text in at the cursor, control characters but tabs as spaces; beeps for what would be more
 * than 1,048,576 characters. Neither this nor replace draws: see ah_libedit_refresh. */
void ah_libedit_insert(struct ah_libedit *le, const char *text, size_t len);

/* The cursor is at the end then. */
void ah_libedit_replace(struct ah_libedit *le, const char *text);

/* ---- keys and drawing ---- */

/* Does what a key of editing (from AH_KEY_CLEAR_SCREEN on) does. */
void ah_libedit_press(struct ah_libedit *le, enum ah_key key);

/* Enter: leaves the line as it stands, and goes on below with an empty one. */
void ah_libedit_enter(struct ah_libedit *le);

/* Empties the line, wherever it is drawn. */
void ah_libedit_discard(struct ah_libedit *le);

void ah_libedit_refresh(struct ah_libedit *le);
void ah_libedit_beep(struct ah_libedit *le);

/* Draws the line where the cursor is, at the start of a row. */
void ah_libedit_show(struct ah_libedit *le);

/* Takes the line off the screen; leaves the cursor where it began. */
void ah_libedit_hide(struct ah_libedit *le);

/* 0 or -ENOMEM, then the old one stays. */
int ah_libedit_set_prompt(struct ah_libedit *le, const char *prompt);

/* The terminal has another size. */
void ah_libedit_resize(struct ah_libedit *le);
