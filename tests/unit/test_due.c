/* The heap of what is due: its first one is the least, whatever was put in, moved and taken out. */
#include "core/clock.h"
#include "supervisor/due.h"
#include "supervisor/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COUNT = 300 };

struct fixture {
    struct due due;
    struct task tasks[COUNT];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    return f != NULL ? due_init(&f->due, COUNT) : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    free(f->due.heap);
    free(f);
    return 0;
}

static void expect_first(const struct fixture *f, const struct task *task)
{
    assert_ptr_equal(due_first(&f->due), task);
}

/* Each knows its place, no parent comes behind its child, and nobody is in there twice. */
static void check(const struct fixture *f, const int64_t *wanted)
{
    size_t in = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const struct task *task = &f->tasks[i];
        if (wanted[i] == AH_CLOCK_NEVER) {
            assert_int_equal(task->due_place, 0);
            continue;
        }
        in++;
        assert_int_equal(task->due, wanted[i]);
        assert_in_range(task->due_place, 1, f->due.count);
        assert_ptr_equal(f->due.heap[task->due_place - 1], task);
        if (task->due_place > 1) {
            assert_true(f->due.heap[task->due_place / 2 - 1]->due <= task->due);
        }
    }
    assert_int_equal(f->due.count, in);
}

static void test_order(void **state)
{
    struct fixture *f = *state;
    struct task *a = &f->tasks[0];
    struct task *b = &f->tasks[1];
    struct task *c = &f->tasks[2];
    expect_first(f, NULL);
    due_set(&f->due, a, 30);
    due_set(&f->due, b, 20);
    due_set(&f->due, c, 25);
    expect_first(f, b);
    due_set(&f->due, b, 40); /* moved behind */
    expect_first(f, c);
    due_set(&f->due, a, 10); /* and before */
    expect_first(f, a);
    due_set(&f->due, a, 10); /* where it is */
    expect_first(f, a);
    due_set(&f->due, a, AH_CLOCK_NEVER);
    due_set(&f->due, a, AH_CLOCK_NEVER); /* it is not in there any more */
    expect_first(f, c);
    due_set(&f->due, c, AH_CLOCK_NEVER);
    expect_first(f, b);
    due_set(&f->due, b, AH_CLOCK_NEVER); /* the last one */
    expect_first(f, NULL);
    due_set(&f->due, b, 0); /* and in again */
    expect_first(f, b);
}

/* As many as there is room for, at random moments, many of them the same. */
static void test_any_changes(void **state)
{
    struct fixture *f = *state;
    int64_t wanted[COUNT];
    uint32_t random = 1;
    for (size_t i = 0; i < COUNT; i++) {
        wanted[i] = AH_CLOCK_NEVER;
    }
    for (int round = 0; round < 20000; round++) {
        random = random * 1664525 + 1013904223;
        size_t which = (random >> 8) % COUNT;
        random = random * 1664525 + 1013904223;
        int64_t when = (random >> 8) % 100;
        wanted[which] = when < 80 || round < COUNT ? when : AH_CLOCK_NEVER;
        due_set(&f->due, &f->tasks[which], wanted[which]);
        if (round % 16 == 0) {
            check(f, wanted);
        }
    }
    int64_t last = 0;
    const struct task *first;
    while ((first = due_first(&f->due)) != NULL) {
        assert_true(first->due >= last);
        last = first->due;
        due_set(&f->due, &f->tasks[first - f->tasks], AH_CLOCK_NEVER);
    }
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {test(test_order), test(test_any_changes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
