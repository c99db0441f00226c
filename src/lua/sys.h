/*
 * What the files of agenthost.sys share: sys.c has the host's surroundings (time, environment,
 * terminal), sys_file.c files and directories.
 */
#pragma once

#include <lua.h>
#include <stddef.h>

/* A real string at `arg`; raises else. */
const char *ah_sys_check_text(lua_State *L, int arg, size_t *len);

/* A path: a real string, not empty, without NUL bytes; raises else. */
const char *ah_sys_check_path(lua_State *L, int arg);

/* Adds the functions for files to the module table on top of the stack, and registers the types of
 * their handles. */
void ah_sys_add_files(lua_State *L);
