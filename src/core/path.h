/*
 * Where things are: private directories, the XDG base directories, our own executable; and random
 * names. Not for the files of a workspace: those are root.h.
 */
#pragma once

#include "err.h"

#include <stddef.h>

/* Makes the directory and what is missing above it, each with mode 0700; what is there stays as it
 * is. 0, or negative errno with err filled: -ENOTDIR when something on the way is no directory. */
int ah_path_mkdir_private(const char *path, struct ah_err *err);

enum ah_path_xdg {
    AH_PATH_STATE,  /* $XDG_STATE_HOME, ~/.local/state */
    AH_PATH_CONFIG, /* $XDG_CONFIG_HOME, ~/.config */
    AH_PATH_DATA,   /* $XDG_DATA_HOME, ~/.local/share */
    AH_PATH_CACHE,  /* $XDG_CACHE_HOME, ~/.cache */
};

/* The base directory (without "agenthost" behind it), absolute; it need not exist. A relative value
 * of a variable is ignored, as the XDG specification says; without a usable $HOME the user database
 * is asked. *ret_path is *owned* (free). -ENOMEM, or -ENOENT when there is no home at all. */
int ah_path_xdg(enum ah_path_xdg kind, char **ret_path, struct ah_err *err);

/* The directory of the running program, absolute. *ret_path is *owned*. */
int ah_path_executable_dir(char **ret_path, struct ah_err *err);

/* Bytes for ah_path_random_hex, the NUL included. */
#define AH_PATH_HEX_SIZE(count) (2 * (count) + 1)

/* Writes 2 * count hex digits of the kernel's random bytes and a NUL. 0 or negative errno. */
int ah_path_random_hex(size_t count, char *ret_hex);
