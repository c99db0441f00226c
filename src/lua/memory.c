#include "memory.h"

#include <stdlib.h>

static bool allowed(struct ah_memory *memory, size_t more)
{
    if (memory->starving) {
        if (memory->left == 0) {
            return false;
        }
        memory->left--;
    }
    size_t limit = memory->limit;
    if (!memory->strict && limit <= (size_t)-1 - memory->reserve) {
        limit += memory->reserve;
    }
    return memory->used <= limit && more <= limit - memory->used;
}

void *ah_memory_alloc(void *ud, void *block, size_t old_size, size_t new_size)
{
    struct ah_memory *memory = ud;
    if (block == NULL) {
        old_size = 0; /* Lua gives a type there */
    }
    if (new_size == 0) {
        free(block);
        memory->used -= old_size;
        return NULL;
    }
    if (new_size > old_size && !allowed(memory, new_size - old_size)) {
        return NULL;
    }
    void *moved = realloc(block, new_size);
    if (moved == NULL) {
        /* Lua takes it for granted that a block can be made smaller. */
        return new_size <= old_size ? block : NULL;
    }
    memory->used += new_size;
    memory->used -= old_size;
    return moved;
}
