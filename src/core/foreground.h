/*
 * A program that takes over the terminal for a while, such as the user's editor.
 *
 * Not for commands of the model: those are tasks (task.h), which have no terminal.
 */
#pragma once

#include "err.h"

/* Runs the words of a command, looked up along PATH, with our stdin, stdout and stderr and default
 * signals, and waits for its end: nothing else happens in this thread meanwhile. The terminal has
 * to be given back before (ah_editor_suspend). *ret_code is its exit code, or 128 + the signal that
 * ended it. When it is stopped (Ctrl-Z) this process stops, too, and both go on together. -ENOENT
 * and the like when it cannot be started. */
int ah_foreground_run(char *const argv[], int *ret_code, struct ah_err *err);

/* Stops this process as Ctrl-Z does by default, whatever SIGTSTP does now: it returns when the
 * process is continued, and at once where there is no shell that could continue it. */
void ah_foreground_stop(void);
