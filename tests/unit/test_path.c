#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/path.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state)
{
    char *base = strdup("/tmp/ah-path-XXXXXX");
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

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_mkdir_private(void **state)
{
    struct ah_err err;
    char path[128];
    umask(0);
    assert_int_equal(mkdir("open", 0755), 0);
    snprintf(path, sizeof path, "%s/open/a/b//c/", (const char *)*state);
    assert_int_equal(ah_path_mkdir_private(path, &err), 0);
    assert_int_equal(ah_path_mkdir_private(path, &err), 0); /* again */
    assert_int_equal(mode_of("open"), 0755);
    assert_int_equal(mode_of("open/a"), 0700);
    assert_int_equal(mode_of("open/a/b"), 0700);
    assert_int_equal(mode_of("open/a/b/c"), 0700);
    assert_int_equal(ah_path_mkdir_private("relative/x", &err), 0);
    assert_int_equal(mode_of("relative/x"), 0700);
    assert_int_equal(ah_path_mkdir_private("/", &err), 0);
    assert_int_equal(ah_path_mkdir_private("", &err), -EINVAL);

    assert_int_equal(symlink("open", "link"), 0);
    assert_int_equal(ah_path_mkdir_private("link/d", &err), 0);
    assert_int_equal(mode_of("open/d"), 0700);

    FILE *file = fopen("file", "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(ah_path_mkdir_private("file", &err), -ENOTDIR);
    assert_int_equal(ah_path_mkdir_private("file/x", &err), -ENOTDIR);
    assert_non_null(strstr(err.msg, "'file'"));
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(ah_path_mkdir_private("dangling/x", &err), -EEXIST);
    umask(022);
}

static void expect_xdg(enum ah_path_xdg kind, const char *expected)
{
    char *path;
    assert_int_equal(ah_path_xdg(kind, &path, NULL), 0);
    assert_string_equal(path, expected);
    free(path);
}

static void test_xdg(void **state)
{
    (void)state;
    char *path = NULL;
    setenv("HOME", "/home/me", 1);
    unsetenv("XDG_STATE_HOME");
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("XDG_DATA_HOME");
    unsetenv("XDG_CACHE_HOME");
    expect_xdg(AH_PATH_STATE, "/home/me/.local/state");
    expect_xdg(AH_PATH_CONFIG, "/home/me/.config");
    expect_xdg(AH_PATH_DATA, "/home/me/.local/share");
    expect_xdg(AH_PATH_CACHE, "/home/me/.cache");
    setenv("XDG_STATE_HOME", "/elsewhere", 1);
    expect_xdg(AH_PATH_STATE, "/elsewhere");
    expect_xdg(AH_PATH_CONFIG, "/home/me/.config");
    setenv("XDG_STATE_HOME", "relative/state", 1);
    expect_xdg(AH_PATH_STATE, "/home/me/.local/state");
    setenv("XDG_STATE_HOME", "", 1);
    expect_xdg(AH_PATH_STATE, "/home/me/.local/state");

    unsetenv("HOME"); /* the user database */
    assert_int_equal(ah_path_xdg(AH_PATH_STATE, &path, NULL), 0);
    assert_int_equal(path[0], '/');
    free(path);
    setenv("HOME", "relative", 1);
    assert_int_equal(ah_path_xdg(AH_PATH_STATE, &path, NULL), 0);
    assert_int_equal(path[0], '/');
    assert_null(strstr(path, "relative"));
    free(path);
}

static void test_executable_dir(void **state)
{
    (void)state;
    char *dir;
    char path[PATH_MAX + 32];
    char self[PATH_MAX];
    assert_int_equal(ah_path_executable_dir(&dir, NULL), 0);
    assert_int_equal(dir[0], '/');
    assert_non_null(realpath("/proc/self/exe", self));
    snprintf(path, sizeof path, "%s/%s", dir, strrchr(self, '/') + 1);
    assert_string_equal(path, self);
    free(dir);
}

static void test_random_hex(void **state)
{
    (void)state;
    char one[AH_PATH_HEX_SIZE(100)];
    char two[AH_PATH_HEX_SIZE(100)];
    assert_int_equal(ah_path_random_hex(100, one), 0);
    assert_int_equal(ah_path_random_hex(100, two), 0);
    assert_int_equal(strlen(one), 200);
    assert_int_equal(strspn(one, "0123456789abcdef"), 200);
    assert_string_not_equal(one, two);
    assert_string_not_equal(one + 100, two + 100);
    assert_int_equal(ah_path_random_hex(0, one), 0);
    assert_string_equal(one, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mkdir_private),
        TEST(test_xdg),
        TEST(test_executable_dir),
        TEST(test_random_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
