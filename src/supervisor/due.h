/*
 * The tasks in the order in which something is to be done for them, so that a look at the first one
 * says how long the supervisor may sleep, however many there are.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct task;

/* A heap; room for every task that there may be. */
struct due {
    struct task **heap;
    size_t count;
};

/* 0 or -ENOMEM. */
int due_init(struct due *due, size_t max);

/* Puts the task where this moment belongs, wherever it was; AH_CLOCK_NEVER takes it out. */
void due_set(struct due *due, struct task *task, int64_t when);

/* The task whose moment (task->due) comes first; NULL when there is none. Borrowed. */
struct task *due_first(const struct due *due);
