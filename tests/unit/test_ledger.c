/* The ledger's records: one valid line of JSON each, by one write, whatever a command looks like.
 */
#include "core/ledger.h"

#include "core/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "5f0c2a91"
#define THREADS 8
#define RECORDS 500

struct kit {
    char dir[64];
    char path[128];
    int fd;
};

static int setup(void **state)
{
    struct kit *kit = calloc(1, sizeof *kit);
    assert_non_null(kit);
    snprintf(kit->dir, sizeof kit->dir, "/tmp/ah-ledger-XXXXXX");
    assert_non_null(mkdtemp(kit->dir));
    snprintf(kit->path, sizeof kit->path, "%s/tasks.jsonl", kit->dir);
    kit->fd = ah_ledger_open(kit->path);
    assert_true(kit->fd >= 0);
    *state = kit;
    return 0;
}

static int teardown(void **state)
{
    struct kit *kit = *state;
    close(kit->fd);
    unlink(kit->path);
    rmdir(kit->dir);
    free(kit);
    return 0;
}

/* All of the file as text; the caller's. */
static char *contents(const struct kit *kit)
{
    int fd = open(kit->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *text = malloc((size_t)st.st_size + 1);
    assert_non_null(text);
    assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
    text[st.st_size] = '\0';
    close(fd);
    return text;
}

static void put_contents(const struct kit *kit, const char *text)
{
    int fd = open(kit->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* ---- a strict reader of one flat JSON object ---- */

static const char *skip_string(const char *at)
{
    assert_int_equal(*at++, '"');
    while (*at != '"') {
        assert_true((unsigned char)*at >= 0x20); /* no raw control character, no early end */
        if (*at == '\\') {
            at++;
            assert_non_null(strchr("\"\\/bfnrtu", *at));
            if (*at == 'u') {
                assert_int_equal(strspn(at + 1, "0123456789abcdefABCDEF") >= 4, 1);
                at += 4;
            }
        }
        at++;
    }
    return at + 1;
}

static const char *skip_value(const char *at)
{
    if (*at == '"') {
        return skip_string(at);
    }
    static const char *const words[] = {"true", "false"};
    for (size_t i = 0; i < 2; i++) {
        if (strncmp(at, words[i], strlen(words[i])) == 0) {
            return at + strlen(words[i]);
        }
    }
    at += *at == '-' ? 1 : 0;
    assert_in_range(strspn(at, "0123456789"), 1, 20);
    assert_true(*at != '0' || strchr(",}.", at[1]) != NULL);
    at += strspn(at, "0123456789");
    if (*at == '.') {
        assert_in_range(strspn(at + 1, "0123456789"), 1, 20);
        at += 1 + strspn(at + 1, "0123456789");
    }
    return at;
}

static void check_utf8(const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        uint32_t character;
        size_t len = ah_utf8_decode(text, left, &character);
        assert_true(len > 0 && (len > 1 || character < 0x80));
        text += len;
        left -= len;
    }
}

/* `line` ends with "}\n" and the text. */
static void check_object(const char *line)
{
    check_utf8(line);
    assert_int_equal(*line++, '{');
    for (;;) {
        line = skip_string(line);
        assert_int_equal(*line++, ':');
        line = skip_value(line);
        if (*line != ',') {
            break;
        }
        line++;
    }
    assert_string_equal(line, "}\n");
}

/* The one record that is in the file, checked; `time` is cut out of it. The caller's. */
static char *only_record(const struct kit *kit)
{
    char *text = contents(kit);
    check_object(text);
    char *time = strstr(text, ",\"time\":");
    assert_non_null(time);
    double seconds = strtod(time + 8, NULL);
    assert_true(seconds > 1.7e9 && seconds < 1e11);
    size_t len = 8 + strspn(time + 8, "0123456789.");
    memmove(time, time + len, strlen(time + len) + 1);
    return text;
}

static void expect_record(const struct kit *kit, const char *wanted)
{
    char *text = only_record(kit);
    assert_string_equal(text, wanted);
    free(text);
    put_contents(kit, "");
}

/* ---- tests ---- */

static const struct ah_ledger_start start = {.task = ID,
                                             .command = "npm test",
                                             .label = "the tests",
                                             .cwd = "/src",
                                             .output = "/state/" ID ".log",
                                             .pid = 4711,
                                             .born = UINT64_MAX,
                                             .owed = true};

static void test_shapes(void **state)
{
    struct kit *kit = *state;
    assert_int_equal(ah_ledger_add_start(kit->fd, &start), 0);
    expect_record(kit, "{\"type\":\"start\",\"task\":\"" ID "\",\"pid\":4711,"
                       "\"born\":18446744073709551615,\"owed\":true,\"detached\":false,"
                       "\"command\":\"npm test\",\"label\":\"the tests\",\"cwd\":\"/src\","
                       "\"output\":\"/state/" ID ".log\"}\n");
    struct ah_ledger_start bare = {.task = ID, .command = "true", .detached = true};
    assert_int_equal(ah_ledger_add_start(kit->fd, &bare), 0);
    expect_record(kit, "{\"type\":\"start\",\"task\":\"" ID "\",\"pid\":0,\"born\":0,"
                       "\"owed\":false,\"detached\":true,\"command\":\"true\"}\n");

    struct ah_ledger_end end = {.task = ID, .status = "failed", .code = 1, .seconds = 48.25};
    assert_int_equal(ah_ledger_add_end(kit->fd, &end), 0);
    expect_record(kit, "{\"type\":\"end\",\"task\":\"" ID "\",\"status\":\"failed\",\"code\":1,"
                       "\"seconds\":48.250}\n");
    end = (struct ah_ledger_end){
        .task = ID, .status = "completed", .code = 0, .reason = "", .seconds = 0};
    assert_int_equal(ah_ledger_add_end(kit->fd, &end), 0);
    expect_record(kit, "{\"type\":\"end\",\"task\":\"" ID "\",\"status\":\"completed\",\"code\":0,"
                       "\"seconds\":0.000}\n");
    end = (struct ah_ledger_end){
        .task = ID, .status = "killed", .code = -1, .signal = 9, .reason = "by me", .seconds = 1e7};
    assert_int_equal(ah_ledger_add_end(kit->fd, &end), 0);
    expect_record(kit, "{\"type\":\"end\",\"task\":\"" ID "\",\"status\":\"killed\",\"signal\":9,"
                       "\"reason\":\"by me\",\"seconds\":10000000.000}\n");

    assert_int_equal(ah_ledger_add_mark(kit->fd, "delivered", ID), 0);
    expect_record(kit, "{\"type\":\"delivered\",\"task\":\"" ID "\"}\n");
}

static void expect_command(struct kit *kit, const char *command, const char *wanted)
{
    char line[512];
    struct ah_ledger_start record = {.task = ID, .command = command};
    assert_int_equal(ah_ledger_add_start(kit->fd, &record), 0);
    snprintf(line, sizeof line,
             "{\"type\":\"start\",\"task\":\"" ID "\",\"pid\":0,\"born\":0,\"owed\":false,"
             "\"detached\":false,\"command\":\"%s\"}\n",
             wanted);
    expect_record(kit, line);
}

static void test_escapes(void **state)
{
    struct kit *kit = *state;
    expect_command(kit, "echo \"a\\b\" /", "echo \\\"a\\\\b\\\" /");
    expect_command(kit, "a\nb\tc\r\x01\x1b[0m\x1f\x7f",
                   "a\\u000ab\\u0009c\\u000d\\u0001\\u001b[0m\\u001f\\u007f");
    expect_command(kit, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
                   "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
    expect_command(kit, "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", /* around what is left out */
                   "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf");
    expect_command(kit, "\xff.\x80.\xc3", "\\ufffd.\\ufffd.\\ufffd");
    expect_command(kit, "\xc3(", "\\ufffd(");
    expect_command(kit, "\xc0\xaf", "\\ufffd\\ufffd"); /* overlong */
    expect_command(kit, "\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd");
    expect_command(kit, "\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"); /* a surrogate */
    expect_command(kit, "\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd");
    expect_command(kit, "\xf0\x9f\x98", "\\ufffd\\ufffd\\ufffd"); /* cut at the end */
}

/* Any bytes in any text field: the line stays valid JSON and valid UTF-8. */
static void test_any_bytes(void **state)
{
    struct kit *kit = *state;
    uint32_t seed = 20240511;
    for (int round = 0; round < 3000; round++) {
        char text[64];
        size_t len = 0;
        while (len < sizeof text - 1) {
            seed = seed * 1664525 + 1013904223;
            static const char lead[] = "\xc3\xe2\xed\xf0\xf4\x80\xbf\"\\\n";
            char byte = (seed >> 28) < 8 ? lead[(seed >> 8) % 10] : (char)(seed >> 16);
            text[len++] = byte != '\0' ? byte : 'x';
        }
        text[len] = '\0';
        struct ah_ledger_start record = {
            .task = text, .command = text, .label = text, .cwd = text, .output = text};
        struct ah_ledger_end end = {.task = text, .status = "failed", .reason = text};
        assert_int_equal(round % 2 == 0 ? ah_ledger_add_start(kit->fd, &record)
                                        : ah_ledger_add_end(kit->fd, &end),
                         0);
        char *line = contents(kit);
        check_object(line);
        put_contents(kit, "");
        free(line);
    }
}

/* A very long command gets in, or is refused as a whole. */
static void test_long_texts(void **state)
{
    struct kit *kit = *state;
    size_t size = 2 * 1024 * 1024;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, '\n', size);
    text[150 * 1024] = '\0'; /* six bytes each */
    struct ah_ledger_start record = {.task = ID, .command = text};
    assert_int_equal(ah_ledger_add_start(kit->fd, &record), 0);
    free(only_record(kit));
    put_contents(kit, "");
    text[150 * 1024] = '\n';
    text[size - 1] = '\0';
    assert_int_equal(ah_ledger_add_start(kit->fd, &record), -EMSGSIZE);
    char *left = contents(kit);
    assert_string_equal(left, "");
    free(left);
    free(text);
}

static void test_open(void **state)
{
    struct kit *kit = *state;
    struct stat st;
    assert_int_equal(fstat(kit->fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fcntl(kit->fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(ah_ledger_open("/ah-no/such/tasks.jsonl"), -ENOENT);
    assert_int_equal(ah_ledger_open(kit->dir), -EISDIR);
    char link[160];
    snprintf(link, sizeof link, "%s/link", kit->dir);
    assert_int_equal(symlink(kit->path, link), 0);
    assert_int_equal(ah_ledger_open(link), -ELOOP);
    unlink(link);
}

static void expect_after_open(struct kit *kit, const char *before, const char *after)
{
    put_contents(kit, before);
    int fd = ah_ledger_open(kit->path);
    assert_true(fd >= 0);
    char *text = contents(kit);
    assert_string_equal(text, after);
    free(text);
    close(fd);
}

static void test_a_torn_line_is_ended(void **state)
{
    struct kit *kit = *state;
    expect_after_open(kit, "", "");
    expect_after_open(kit, "{}\n", "{}\n");
    expect_after_open(kit, "{}\n{\"type\":\"e", "{}\n{\"type\":\"e\n");
    expect_after_open(kit, "x", "x\n");
    expect_after_open(kit, "\n", "\n");
    assert_int_equal(ah_ledger_add_mark(kit->fd, "owed", ID), 0);
    char *text = contents(kit);
    assert_memory_equal(text, "\n{\"type\":\"owed\"", 15);
    free(text);
}

/* On a socket that keeps packets apart, what one write was is seen. */
static void test_one_write_a_record(void **state)
{
    (void)state;
    int ends[2];
    char line[4096];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    struct ah_ledger_end end = {.task = ID, .status = "failed", .code = 3, .reason = "\xff\n"};
    assert_int_equal(ah_ledger_add_start(ends[0], &start), 0);
    assert_int_equal(ah_ledger_add_end(ends[0], &end), 0);
    assert_int_equal(ah_ledger_add_mark(ends[0], "delivered", ID), 0);
    close(ends[0]);
    for (int i = 0; i < 3; i++) {
        ssize_t len = read(ends[1], line, sizeof line - 1);
        assert_in_range(len, 1, sizeof line - 1);
        line[len] = '\0';
        check_object(line);
    }
    assert_int_equal(read(ends[1], line, sizeof line), 0);
    close(ends[1]);
}

static void *add_many(void *argument)
{
    const struct kit *kit = argument;
    int fd = ah_ledger_open(kit->path);
    int rc = 0;
    for (int i = 0; i < RECORDS; i++) {
        int added =
            i % 2 == 0 ? ah_ledger_add_start(fd, &start) : ah_ledger_add_mark(fd, "delivered", ID);
        rc = rc < 0 ? rc : added;
    }
    close(fd);
    return rc == 0 ? NULL : argument;
}

/* Many writers, each with a descriptor of its own, as supervisor and host: lines do not mix. Empty
 * ones are allowed: who opens may see a line of another that is only half in. */
static void test_writers_do_not_mix(void **state)
{
    struct kit *kit = *state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, kit), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    char *text = contents(kit);
    int count = 0;
    for (char *at = text; *at != '\0';) {
        char line[512];
        size_t len = strcspn(at, "\n") + 1;
        if (len == 1) {
            at++;
            continue;
        }
        count++;
        assert_true(len < sizeof line);
        memcpy(line, at, len);
        line[len] = '\0';
        check_object(line);
        at += len;
    }
    assert_int_equal(count, THREADS * RECORDS);
    free(text);
}

/* A full disk is an error, also when a part of the line still got in; the next open ends it. */
static void test_full_disk(void **state)
{
    struct kit *kit = *state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {.rlim_cur = 100, .rlim_max = before.rlim_max};
    assert_int_equal(ah_ledger_add_mark(kit->fd, "owed", ID), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int cut = ah_ledger_add_start(kit->fd, &start);
    int full = ah_ledger_add_mark(kit->fd, "owed", ID);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(cut, -EIO);
    assert_int_equal(full, -EFBIG);
    int fd = ah_ledger_open(kit->path);
    assert_true(fd >= 0);
    assert_int_equal(ah_ledger_add_mark(fd, "delivered", ID), 0);
    close(fd);
    char *text = contents(kit);
    const char *last = strstr(text, "\n{\"type\":\"delivered\"");
    assert_non_null(last);
    check_object(last + 1);
    free(text);
    assert_int_equal(ah_ledger_add_mark(-1, "owed", ID), -EBADF);
}

int main(void)
{
#define with_kit(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_kit(test_shapes),
        with_kit(test_escapes),
        with_kit(test_any_bytes),
        with_kit(test_long_texts),
        with_kit(test_open),
        with_kit(test_a_torn_line_is_ended),
        with_kit(test_one_write_a_record),
        with_kit(test_writers_do_not_mix),
        with_kit(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
