#include "due.h"

#include "core/clock.h"
#include "task.h"

#include <errno.h>
#include <stdlib.h>

int due_init(struct due *due, size_t max)
{
    due->heap = calloc(max, sizeof(struct task *));
    return due->heap != NULL ? 0 : -ENOMEM;
}

/* Places count from 1, so that 0 says "not in there". */
static void put(struct due *due, size_t place, struct task *task)
{
    due->heap[place - 1] = task;
    task->due_place = place;
}

static int64_t moment(const struct due *due, size_t place)
{
    return due->heap[place - 1]->due;
}

/* Moves the task up or down from the place, which is free, to where it belongs. */
static void settle(struct due *due, size_t place, struct task *task)
{
    while (place > 1 && task->due < moment(due, place / 2)) {
        put(due, place, due->heap[place / 2 - 1]);
        place /= 2;
    }
    for (;;) {
        size_t child = place * 2;
        if (child < due->count && moment(due, child + 1) < moment(due, child)) {
            child++;
        }
        if (child > due->count || moment(due, child) >= task->due) {
            break;
        }
        put(due, place, due->heap[child - 1]);
        place = child;
    }
    put(due, place, task);
}

void due_set(struct due *due, struct task *task, int64_t when)
{
    size_t place = task->due_place;
    if (place != 0 && task->due == when) {
        return;
    }
    task->due = when;
    if (when != AH_CLOCK_NEVER) {
        settle(due, place != 0 ? place : ++due->count, task);
    } else if (place != 0) {
        struct task *last = due->heap[--due->count];
        task->due_place = 0;
        if (last != task) {
            settle(due, place, last);
        }
    }
}

struct task *due_first(const struct due *due)
{
    return due->count > 0 ? due->heap[0] : NULL;
}
