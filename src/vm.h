/*
 * The Lua state: libraries, C modules, search paths, tracebacks.
 */
#pragma once

#include "core/err.h"
#include "lua/binding.h"

/* Where this program's files are; all absolute. Owned by whoever filled it in. */
struct ah_places {
    char *share;      /* holds lua/, plugins/ and examples/ */
    char *config;     /* $XDG_CONFIG_HOME/agenthost; what is there comes before share */
    char *supervisor; /* the second executable */
};

/* Finds them, from a build tree or an installed tree that may have been moved. 0 or negative errno
 * with a message that names what was looked for. Clear in any case. */
int ah_places_find(struct ah_places *ret_places, struct ah_err *err);
void ah_places_clear(struct ah_places *places);

/* A state in which every module of agenthost can be required. NULL when out of memory. */
lua_State *ah_vm_new(struct ah_services *services, const struct ah_places *places);

/* Closes it, and with it every handle: requests, queues, tasks. */
void ah_vm_free(lua_State *L);

/* Calls require("agenthost.cli").main(arg...) with the words of the command line and returns the
 * exit code of the program. An error is printed on stderr with a traceback; the code is 1. */
int ah_vm_run(lua_State *L, int argc, char **argv);
