#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The test runs in a copy of itself that was started with this environment, so that the variables
 * are where the kernel put them. */
static const char *const environment[] = {
    "FIRST=1",
    "TEST_API_KEY=sk-0123456789",
    "OTHER_API_KEY=sk-0123456789-and-more",
    "TEST_API_KEY=sk-second-of-the-same-name",
    "API_KEY_NOT=stays-visible",
    "EMPTY_API_KEY=",
    "SHORT_API_KEY=short",
    "LIST_TOKEN=x=y=z=token",
    "no-equals-sign_API_KEY",
    "LAST=2",
    NULL,
};

/* True when the environment that the kernel shows to others has the text. */
static bool shown_by_proc(const char *text)
{
    char bytes[65536];
    int fd = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, bytes, sizeof bytes);
    assert_true(n > 0);
    close(fd);
    return memmem(bytes, (size_t)n, text, strlen(text)) != NULL;
}

static void test_hide(void **state)
{
    (void)state;
    struct ah_secret_store *store = ah_secret_new();
    assert_non_null(store);
    assert_true(shown_by_proc("sk-0123456789-and-more"));
    assert_int_equal(ah_secret_hide(store, "*_API_KEY"), 5);
    assert_int_equal(ah_secret_hide(store, "*_TOKEN"), 1);
    assert_int_equal(ah_secret_hide(store, "NONE*"), 0);
    assert_int_equal(ah_secret_hide(store, "*_API_KEY"), 0);

    assert_null(getenv("TEST_API_KEY"));
    assert_null(getenv("OTHER_API_KEY"));
    assert_null(getenv("LIST_TOKEN"));
    assert_string_equal(getenv("FIRST"), "1");
    assert_string_equal(getenv("LAST"), "2");
    assert_string_equal(getenv("API_KEY_NOT"), "stays-visible");
    assert_string_equal(ah_secret_get(store, "TEST_API_KEY"), "sk-0123456789");
    assert_string_equal(ah_secret_get(store, "OTHER_API_KEY"), "sk-0123456789-and-more");
    assert_string_equal(ah_secret_get(store, "EMPTY_API_KEY"), "");
    assert_string_equal(ah_secret_get(store, "LIST_TOKEN"), "x=y=z=token");
    assert_null(ah_secret_get(store, "FIRST"));
    assert_null(ah_secret_get(store, "API_KEY"));

    assert_false(shown_by_proc("sk-0123456789"));
    assert_false(shown_by_proc("sk-second"));
    assert_false(shown_by_proc("TEST_API_KEY"));
    assert_false(shown_by_proc("x=y=z"));
    assert_true(shown_by_proc("API_KEY_NOT=stays-visible"));
    assert_true(shown_by_proc("LAST=2"));

    /* A child has none of it. */
    FILE *child = popen("env", "r");
    char line[256];
    bool sees_last = false;
    assert_non_null(child);
    while (fgets(line, sizeof line, child) != NULL) {
        assert_null(strstr(line, "sk-"));
        assert_null(strstr(line, "TEST_API_KEY"));
        sees_last = sees_last || strcmp(line, "LAST=2\n") == 0;
    }
    assert_int_equal(pclose(child), 0);
    assert_true(sees_last);

    /* The newer value of a name counts. */
    setenv("TEST_API_KEY", "sk-new-value", 1);
    assert_int_equal(ah_secret_hide(store, "TEST_API_KEY"), 1);
    assert_string_equal(ah_secret_get(store, "TEST_API_KEY"), "sk-new-value");
    ah_secret_free(store);
    ah_secret_free(NULL);
}

static void check_redact(const struct ah_secret_store *store, const char *text,
                         const char *expected)
{
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_secret_redact(store, text, strlen(text), &out), 0);
    assert_string_equal(ah_buf_str(&out), expected);
    ah_buf_clear(&out);
}

static void test_redact(void **state)
{
    (void)state;
    struct ah_secret_store *store = ah_secret_new();
    assert_non_null(store);
    check_redact(store, "nothing to hide", "nothing to hide");
    setenv("A_KEY", "aaaabbbb", 1);
    setenv("LONG_KEY", "aaaabbbbcccc", 1);
    setenv("TINY_KEY", "seven77", 1);
    setenv("NO_KEY", "", 1);
    assert_int_equal(ah_secret_hide(store, "*_KEY"), 4);
    check_redact(store, "", "");
    check_redact(store, "aaaabbbb", "<A_KEY>");
    check_redact(store, "x aaaabbbbcccc y aaaabbbbccc", "x <LONG_KEY> y <A_KEY>ccc");
    check_redact(store, "aaaaabbbbaaaabbbb", "a<A_KEY><A_KEY>");
    check_redact(store, "aaaabbb seven77", "aaaabbb seven77");
    struct ah_buf out;
    ah_buf_init(&out, 5);
    assert_int_equal(ah_secret_redact(store, "x aaaabbbb", 10, &out), -EMSGSIZE);
    assert_int_equal(out.len, 0);
    ah_buf_clear(&out);
    ah_buf_init(&out, 0);
    assert_int_equal(ah_secret_redact(store, "\0aaaabbbb\0", 10, &out), 0);
    assert_int_equal(out.len, 9);
    assert_memory_equal(out.data, "\0<A_KEY>\0", 9);
    ah_buf_clear(&out);
    ah_secret_free(store);
}

static void test_no_environment(void **state)
{
    (void)state;
    struct ah_secret_store *store = ah_secret_new();
    assert_non_null(store);
    clearenv();
    assert_int_equal(ah_secret_hide(store, "*"), 0);
    ah_secret_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hide),
        cmocka_unit_test(test_redact),
        cmocka_unit_test(test_no_environment),
    };
    if (argc < 2) {
        char *const args[] = {argv[0], (char[]){"inner"}, NULL};
        execve("/proc/self/exe", args, (char *const *)environment);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
