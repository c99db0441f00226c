/*
 * The allocator of the Lua state: counts, and says no beyond a limit. Knows nothing of calls; that
 * is guard.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct ah_memory {
    size_t used;    /* bytes that the state holds */
    size_t limit;   /* SIZE_MAX: none */
    size_t reserve; /* beyond the limit, for everybody but plugin code */
    bool strict;    /* plugin code runs: the reserve is not for it */
    bool starving;  /* tests: after `left` more requests each one fails */
    size_t left;
};

/* A lua_Alloc; `ud` is a struct ah_memory. What shrinks or frees a block never fails. */
void *ah_memory_alloc(void *ud, void *block, size_t old_size, size_t new_size);
