/*
 * The terminal on stdin and stdout: its modes, put back on every way out, and what is typed on it.
 *
 * Not for drawing (libedit.h), and not a setter of modes: whoever changes them says so before, with
 * ah_terminal_take. From then on they are put back by close, by exit(), and by fatal signals that
 * nobody handles; not by SIGKILL and _exit().
 *
 * The state is static: exit and signal handlers get no argument to find it by, and a process has
 * one terminal. Main thread only.
 */
#pragma once

#include "buf.h"
#include "err.h"

#include <stdbool.h>
#include <stddef.h>

/* Remembers the modes as they are. -ENOTTY when stdin or stdout is no terminal, -EBUSY when it is
 * open already. */
int ah_terminal_open(struct ah_err *err);

/* Puts the modes back and lets go of the terminal. Only after ah_terminal_open. */
void ah_terminal_close(void);

/* The modes are about to be changed. */
void ah_terminal_take(void);

/* Asks the terminal to put ESC [200~ and ESC [201~ around what is pasted ("bracketed paste" of
 * xterm's control sequences); undone by the next restore. Only while the modes are taken. */
void ah_terminal_bracket_pastes(void);

/* Puts the modes back unless they are: until the next take they stay as they are. Does nothing in
 * the background, in a forked child, and while the terminal is not open. Safe in signal handlers.
 */
void ah_terminal_restore(void);

/* A control character of the remembered modes, as VEOF; 0: there is none. */
unsigned char ah_terminal_char(int index);

/* Whether TERM says that nothing can be drawn on it. */
bool ah_terminal_is_dumb(void);

/* Columns and rows; 80 and 0 when they are not known. */
void ah_terminal_size(size_t *ret_columns, size_t *ret_rows);

/* Appends what has been typed to `in`, about `max` bytes of it, without waiting. Returns whether
 * this was the end: the terminal is gone or, while it is not taken, Ctrl-D. */
bool ah_terminal_read(struct ah_buf *in, size_t max);
