/* The history: what is remembered, its file after crashes and other misfortunes, and the walk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/history.h"

#include "core/buf.h"
#include "core/file.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES_MAX ((size_t)64 * 1024)
#define FILE_BYTES_MAX ((off_t)4 * 1024 * 1024)

/* Each test has an empty directory of its own to stand in. */
static int setup(void **state)
{
    char *base = strdup("/tmp/ah-history-XXXXXX");
    *state = base;
    return base == NULL || mkdtemp(base) == NULL || chdir(base) < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    int rc = chdir("/") + nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return rc;
}

static struct ah_history *open_history(size_t max, const char *path)
{
    struct ah_err err = {0};
    struct ah_history *history = NULL;
    if (ah_history_new(max, path, &history, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    assert_non_null(history);
    return history;
}

static void add(struct ah_history *history, const char *text)
{
    assert_int_equal(ah_history_add(history, text, strlen(text), NULL), 0);
}

static void write_file(const char *path, const char *text)
{
    assert_int_equal(ah_file_write(path, text, strlen(text), 0644, NULL), 0);
}

static void check_file(const char *path, const char *wanted)
{
    struct ah_buf text;
    uint64_t size;
    ah_buf_init(&text, 0);
    assert_int_equal(ah_file_read(path, SIZE_MAX / 4, &text, &size, NULL), 0);
    assert_string_equal(ah_buf_str(&text), wanted);
    ah_buf_clear(&text);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* All lines from the newest to the oldest, with a space behind each. */
static void check_lines(struct ah_history *history, const char *wanted)
{
    struct ah_buf all;
    const char *line;
    ah_buf_init(&all, 0);
    ah_history_leave(history);
    while ((line = ah_history_step(history, true, "")) != NULL) {
        ah_buf_addf(&all, "%s ", line);
    }
    assert_string_equal(ah_buf_str(&all), wanted);
    ah_history_leave(history);
    ah_buf_clear(&all);
}

/* ---- remembering ---- */

static void test_remember(void **state)
{
    (void)state;
    struct ah_history *history = open_history(3, NULL);
    check_lines(history, "");
    add(history, "a");
    add(history, "a");
    add(history, "");
    add(history, "  \t ");
    add(history, "b");
    add(history, "a");
    check_lines(history, "a b a ");
    add(history, "tab\tnewline\nescape\033");
    check_lines(history, "tab newline escape  a b ");
    add(history, "\u00e4 ");
    add(history, "\u00e4");
    check_lines(history, "\u00e4 \u00e4  tab newline escape  ");
    ah_history_free(history);
    ah_history_free(NULL);
}

static void test_bounds(void **state)
{
    (void)state;
    char *line = malloc(LINE_BYTES_MAX + 1);
    assert_non_null(line);
    memset(line, 'x', LINE_BYTES_MAX + 1);
    struct ah_history *history = open_history(2, "file");
    assert_int_equal(ah_history_add(history, line, LINE_BYTES_MAX + 1, NULL), 0);
    assert_null(ah_history_step(history, true, ""));
    assert_int_equal(ah_history_add(history, line, LINE_BYTES_MAX, NULL), 0);
    assert_int_equal(strlen(ah_history_step(history, true, "")), LINE_BYTES_MAX);
    ah_history_free(history);
    free(line);

    history = open_history(0, "none");
    add(history, "a");
    check_lines(history, "");
    assert_null(ah_history_search(history, true, ""));
    ah_history_free(history);
    check_file("none", "");
}

/* ---- the file ---- */

static void test_file(void **state)
{
    (void)state;
    struct ah_history *history = open_history(10, "file");
    assert_int_equal(mode_of("file"), 0600);
    add(history, "a");
    add(history, "a");
    add(history, "two\nlines");
    check_file("file", "a\ntwo lines\n");
    assert_int_equal(chdir("/"), 0); /* it stays the same file */
    add(history, "b");
    assert_int_equal(chdir(*state), 0);
    ah_history_free(history);
    check_file("file", "a\ntwo lines\nb\n");
    history = open_history(10, "file");
    check_lines(history, "b two lines a ");
    ah_history_free(history);
}

static void test_mode(void **state)
{
    (void)state;
    write_file("file", "a\n");
    assert_int_equal(mode_of("file"), 0644);
    struct ah_history *history = open_history(10, "file");
    assert_int_equal(mode_of("file"), 0600);
    assert_int_equal(chmod("file", 0666), 0);
    add(history, "b");
    assert_int_equal(mode_of("file"), 0600);
    ah_history_free(history);
}

static void test_torn_last_line(void **state)
{
    (void)state;
    write_file("file", "a\nto");
    struct ah_history *history = open_history(10, "file");
    check_lines(history, "to a ");
    add(history, "b");
    check_file("file", "a\nto\nb\n");
    ah_history_free(history);
}

static void test_strange_file(void **state)
{
    (void)state;
    FILE *file = fopen("file", "w");
    assert_non_null(file);
    static const char bytes[] = "\n\na\0b\n\r\nc\r\n\033[0m\n";
    assert_int_equal(fwrite(bytes, 1, sizeof bytes - 1, file), sizeof bytes - 1);
    assert_int_equal(fclose(file), 0);
    struct ah_history *history = open_history(10, "file");
    check_lines(history, " [0m c  a "); /* a NUL ends its line */
    ah_history_free(history);
}

/* Writes the lines "1", "2", ... */
static void write_numbers(const char *path, int count)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 1; i <= count; i++) {
        fprintf(file, "%d\n", i);
    }
    assert_int_equal(fclose(file), 0);
}

static void test_trimming(void **state)
{
    (void)state;
    write_numbers("file", 6);
    ah_history_free(open_history(3, "file"));
    check_file("file", "1\n2\n3\n4\n5\n6\n"); /* not more than twice as many */
    write_numbers("file", 7);
    assert_int_equal(symlink("file", "link"), 0);
    struct ah_history *history = open_history(3, "link");
    check_file("file", "5\n6\n7\n");
    assert_int_equal(mode_of("file"), 0600);
    check_lines(history, "7 6 5 ");
    add(history, "8");
    check_file("file", "5\n6\n7\n8\n");
    ah_history_free(history);
    struct stat st;
    assert_int_equal(lstat("link", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(unlink("link"), 0);
    assert_int_equal(unlink("file"), 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(*state), 0); /* nothing is left beside it */
    assert_int_equal(mkdir(*state, 0700), 0);
    assert_int_equal(chdir(*state), 0);
}

/* Of a very large file only the end is read, and the line in which that begins is left out. */
static void test_large_file(void **state)
{
    (void)state;
    FILE *file = fopen("file", "w");
    assert_non_null(file);
    for (int i = 0; i < 100000; i++) {
        fprintf(file, "line number %06d of the file, and some more of it ..........\n", i);
    }
    assert_int_equal(fclose(file), 0);
    struct ah_history *history = open_history(100000, "file");
    struct stat st;
    assert_int_equal(stat("file", &st), 0);
    assert_true(st.st_size > FILE_BYTES_MAX - 100 && st.st_size <= FILE_BYTES_MAX);
    const char *line = NULL;
    const char *next;
    int count = 0;
    for (; (next = ah_history_step(history, true, "")) != NULL; count++) {
        line = next;
    }
    char wanted[80];
    snprintf(wanted, sizeof wanted, "line number %06d of the file, and some more of it ..........",
             100000 - count);
    assert_string_equal(line, wanted);
    assert_int_equal((size_t)st.st_size, (size_t)count * (strlen(wanted) + 1));
    ah_history_free(history);
}

static void test_unusable(void **state)
{
    (void)state;
    struct ah_err err;
    struct ah_history *history = NULL;
    assert_int_equal(ah_history_new(10, "missing/file", &history, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "'missing/file'"));
    assert_int_equal(mkdir("directory", 0700), 0);
    assert_int_equal(ah_history_new(10, "directory", &history, &err), -EISDIR);
    assert_int_equal(err.code, -EISDIR);
    assert_null(history);
}

static void test_unwritable(void **state)
{
    (void)state;
    struct ah_err err;
    struct ah_history *history = open_history(10, "/dev/full");
    assert_int_equal(ah_history_add(history, "a", 1, &err), -ENOSPC);
    assert_non_null(strstr(err.msg, "'/dev/full'"));
    check_lines(history, "a "); /* remembered all the same */
    ah_history_free(history);

    history = open_history(10, "file");
    assert_int_equal(unlink("file"), 0);
    assert_int_equal(mkdir("file", 0700), 0);
    assert_int_equal(ah_history_add(history, "a", 1, &err), -EISDIR);
    check_lines(history, "a ");
    assert_int_equal(rmdir("file"), 0);
    add(history, "b"); /* made again */
    check_file("file", "b\n");
    ah_history_free(history);

    history = open_history(10, "/dev/null");
    add(history, "a");
    check_lines(history, "a ");
    ah_history_free(history);
}

static void test_two_share_a_file(void **state)
{
    (void)state;
    struct ah_history *one = open_history(10, "file");
    struct ah_history *two = open_history(10, "file");
    add(one, "a");
    add(two, "b");
    write_file("file", "replaced\n"); /* by a rename, as a third that trims it would */
    add(one, "c");
    check_file("file", "replaced\nc\n");
    check_lines(one, "c a ");
    check_lines(two, "b ");
    ah_history_free(one);
    ah_history_free(two);
}

/* ---- the walk ---- */

static void test_walk(void **state)
{
    (void)state;
    struct ah_history *history = open_history(3, NULL);
    assert_null(ah_history_step(history, true, "typed"));
    assert_null(ah_history_step(history, false, "typed"));
    add(history, "a");
    add(history, "b");
    assert_string_equal(ah_history_step(history, true, "typed"), "b");
    assert_string_equal(ah_history_step(history, true, "b, changed"), "a");
    assert_null(ah_history_step(history, true, "a"));
    add(history, "c"); /* meanwhile: the walk stays where it is */
    assert_string_equal(ah_history_step(history, false, "a"), "b");
    assert_string_equal(ah_history_step(history, false, "b"), "c");
    assert_string_equal(ah_history_step(history, false, "c"), "typed");
    assert_null(ah_history_step(history, false, "typed"));
    assert_string_equal(ah_history_step(history, true, "typed again"), "c");
    assert_string_equal(ah_history_step(history, false, "c"), "typed again");
    ah_history_step(history, true, "x");
    ah_history_step(history, true, "x");
    ah_history_step(history, true, "x");
    add(history, "d"); /* the line of the walk is forgotten: the oldest one takes its place */
    assert_string_equal(ah_history_step(history, false, "a"), "c");
    ah_history_leave(history);
    assert_string_equal(ah_history_step(history, true, "y"), "d");
    assert_string_equal(ah_history_step(history, false, "d"), "y");
    ah_history_free(history);
}

static void test_search(void **state)
{
    (void)state;
    struct ah_history *history = open_history(10, NULL);
    add(history, "make all");
    add(history, "ls");
    add(history, "make test");
    add(history, "cd");
    assert_string_equal(ah_history_search(history, true, "make"), "make test");
    assert_string_equal(ah_history_search(history, true, "make test"), "make all");
    assert_null(ah_history_search(history, true, "make all"));
    assert_string_equal(ah_history_search(history, false, "make all"), "make test");
    assert_null(ah_history_search(history, false, "make test")); /* never what was typed */
    assert_string_equal(ah_history_step(history, false, "make test"), "cd");
    assert_string_equal(ah_history_step(history, false, "cd"), "make");
    ah_history_end_search(history);
    assert_string_equal(ah_history_search(history, true, "l"), "ls"); /* from the start again */
    ah_history_end_search(history);
    assert_string_equal(ah_history_search(history, true, ""), "make all");
    ah_history_leave(history);
    assert_null(ah_history_search(history, true, "nowhere"));
    ah_history_free(history);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_remember),   TEST(test_bounds),           TEST(test_file),
        TEST(test_mode),       TEST(test_torn_last_line),   TEST(test_strange_file),
        TEST(test_trimming),   TEST(test_large_file),       TEST(test_unusable),
        TEST(test_unwritable), TEST(test_two_share_a_file), TEST(test_walk),
        TEST(test_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
