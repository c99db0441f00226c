#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each test has base/w (the root), base/out (outside, with a secret), and base as the current
 * directory. */
struct place {
    char base[64];
    char root_path[80];
    struct ah_root *root;
};

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    snprintf(place->base, sizeof place->base, "/tmp/ah-root-XXXXXX");
    if (place == NULL || mkdtemp(place->base) == NULL || chdir(place->base) < 0) {
        return -1;
    }
    mkdir("w", 0755);
    mkdir("w/sub", 0755);
    mkdir("w-sibling", 0755);
    mkdir("out", 0755);
    put("out/secret", "secret");
    put("w-sibling/secret", "secret");
    put("w/a", "text of a");
    snprintf(place->root_path, sizeof place->root_path, "%s/w", place->base);
    *state = place;
    return ah_root_open("w", &place->root, NULL);
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
    struct place *place = *state;
    ah_root_free(place->root);
    int rc = chdir("/") + nftw(place->base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(place);
    return rc;
}

static int read_root(const struct place *place, const char *path, char *text, size_t size,
                     struct ah_err *err)
{
    struct ah_buf out;
    uint64_t total;
    ah_buf_init(&out, 0);
    int rc = ah_root_read(place->root, path, size - 1, &out, &total, err);
    snprintf(text, size, "%s", ah_buf_str(&out));
    ah_buf_clear(&out);
    return rc;
}

static void expect_text(const struct place *place, const char *path, const char *expected)
{
    char text[256] = "";
    struct ah_err err = {0};
    if (read_root(place, path, text, sizeof text, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(text, expected);
}

static void expect_file(const char *path, const char *expected)
{
    struct ah_buf out;
    uint64_t size;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_file_read(path, 4096, &out, &size, NULL), 0);
    assert_string_equal(ah_buf_str(&out), expected);
    ah_buf_clear(&out);
}

static int write_root(const struct place *place, const char *path, const char *text,
                      struct ah_err *err)
{
    return ah_root_write(place->root, path, text, strlen(text), err);
}

/* Every operation says -EXDEV. */
static void expect_outside(const struct place *place, const char *path)
{
    char text[256];
    struct ah_err err = {0};
    struct stat st;
    struct ah_file_list list = {0};
    assert_int_equal(read_root(place, path, text, sizeof text, &err), -EXDEV);
    assert_non_null(strstr(err.msg, "is outside the workspace"));
    assert_non_null(strstr(err.msg, place->root_path));
    assert_int_equal(write_root(place, path, "overwritten", &err), -EXDEV);
    assert_int_equal(ah_root_stat(place->root, path, &st, &err), -EXDEV);
    assert_int_equal(ah_root_list(place->root, path, 10, &list, &err), -EXDEV);
}

/* No temporary file, and nothing new: so many entries. */
static void expect_entries(const char *path, size_t count)
{
    struct ah_file_list list;
    assert_int_equal(ah_file_list(path, 1000, &list, NULL), 0);
    for (size_t i = 0; i < list.count; i++) {
        if (strstr(list.entries[i].name, ".tmp") != NULL) {
            fail_msg("left behind: %s", list.entries[i].name);
        }
    }
    assert_int_equal(list.count, count);
    ah_file_list_clear(&list);
}

static void test_inside(void **state)
{
    const struct place *place = *state;
    char path[256];
    struct stat st;
    assert_string_equal(ah_root_path(place->root), place->root_path);
    expect_text(place, "a", "text of a");
    expect_text(place, "./sub/../a", "text of a");
    expect_text(place, "sub//.././/a", "text of a");
    snprintf(path, sizeof path, "%s/a", place->root_path);
    expect_text(place, path, "text of a");
    snprintf(path, sizeof path, "//%s/.//sub/../a", place->root_path);
    expect_text(place, path, "text of a");
    assert_int_equal(ah_root_stat(place->root, place->root_path, &st, NULL), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(ah_root_stat(place->root, "a", &st, NULL), 0);
    assert_int_equal(st.st_size, 9);
}

static void test_opened_through_a_link(void **state)
{
    struct place *place = *state;
    char link[128];
    char path[160];
    snprintf(link, sizeof link, "%s/link", place->base);
    assert_int_equal(symlink("w", link), 0);
    ah_root_free(place->root);
    place->root = NULL;
    assert_int_equal(ah_root_open(link, &place->root, NULL), 0);
    assert_string_equal(ah_root_path(place->root), place->root_path);
    snprintf(path, sizeof path, "%s/a", link);
    expect_text(place, path, "text of a");
    snprintf(path, sizeof path, "%s/a", place->root_path);
    expect_text(place, path, "text of a");
}

static void test_paths_that_lead_out(void **state)
{
    const struct place *place = *state;
    static const char *const out[] = {
        "..",       "../out/secret",       "sub/../../out/secret", "/etc/passwd", "/",
        "./../w/a", "../w-sibling/secret", "/proc/self/cwd",       "sub/../..",   "../w",
    };
    char path[256];
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) {
        expect_outside(place, out[i]);
    }
    static const char *const below_base[] = {"w-sibling/secret", "w/../out/secret", "out/secret",
                                             "out/../w/a"};
    for (size_t i = 0; i < sizeof below_base / sizeof *below_base; i++) {
        snprintf(path, sizeof path, "%s/%s", place->base, below_base[i]);
        expect_outside(place, path);
    }
    struct ah_err err;
    char text[16];
    assert_int_equal(read_root(place, "../x", text, sizeof text, &err), -EXDEV);
    snprintf(path, sizeof path, "'../x' is outside the workspace %s", place->root_path);
    assert_string_equal(err.msg, path);
    expect_file("out/secret", "secret");
    expect_entries("out", 1);
    assert_int_equal(read_root(place, "", text, sizeof text, &err), -EINVAL);
}

static void test_links_that_lead_out(void **state)
{
    const struct place *place = *state;
    assert_int_equal(symlink("../out", "w/dir"), 0);
    assert_int_equal(symlink("../out/secret", "w/file"), 0);
    assert_int_equal(symlink("/etc/passwd", "w/absolute"), 0);
    assert_int_equal(symlink("/dev/zero", "w/zero"), 0);
    assert_int_equal(symlink("chain2", "w/chain1"), 0);
    assert_int_equal(symlink("sub/chain3", "w/chain2"), 0);
    assert_int_equal(symlink("../../out/secret", "w/sub/chain3"), 0);
    assert_int_equal(symlink("../out/new", "w/dangling"), 0);
    expect_outside(place, "dir/secret");
    expect_outside(place, "dir");
    expect_outside(place, "file");
    expect_outside(place, "absolute");
    expect_outside(place, "zero");
    expect_outside(place, "chain1");
    expect_outside(place, "dangling");
    expect_outside(place, "dir/new/deep");
    expect_file("out/secret", "secret");
    expect_entries("out", 1);
}

static void test_magic_links(void **state)
{
    struct place *place = *state;
    struct ah_root *proc;
    struct ah_buf out;
    uint64_t size;
    struct ah_err err;
    (void)place;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_root_open("/proc/self", &proc, NULL), 0);
    assert_int_equal(ah_root_read(proc, "cwd/out/secret", 100, &out, &size, &err), -ELOOP);
    assert_int_equal(ah_root_read(proc, "status", 100, &out, &size, &err), 0);
    assert_int_equal(out.len, 100);
    assert_true(size > 100); /* though its size is 0 */
    ah_buf_clear(&out);
    ah_root_free(proc);
}

static void test_links_that_stay_inside(void **state)
{
    const struct place *place = *state;
    char path[256];
    struct stat st;
    assert_int_equal(symlink("../a", "w/sub/link"), 0);
    assert_int_equal(symlink("sub/link", "w/chain"), 0);
    assert_int_equal(symlink("sub", "w/dirlink"), 0);
    assert_int_equal(symlink("sub/made", "w/dangling"), 0);
    assert_int_equal(symlink("loop", "w/loop"), 0);
    expect_text(place, "chain", "text of a");
    expect_text(place, "dirlink/link", "text of a");

    /* Written through, not replaced. */
    assert_int_equal(write_root(place, "chain", "new", NULL), 0);
    expect_file("w/a", "new");
    assert_int_equal(lstat("w/chain", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(lstat("w/sub/link", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(write_root(place, "dangling", "made", NULL), 0);
    expect_file("w/sub/made", "made");
    assert_int_equal(write_root(place, "dirlink/x/y", "deep", NULL), 0);
    expect_file("w/sub/x/y", "deep");
    snprintf(path, sizeof path, "%s/sub/abs-target", place->root_path);
    assert_int_equal(symlink(path, "w/absolute"), 0);
    assert_int_equal(write_root(place, "absolute", "abs", NULL), 0);
    expect_file("w/sub/abs-target", "abs");
    assert_int_equal(write_root(place, "loop", "x", NULL), -ELOOP);
}

static void test_write(void **state)
{
    const struct place *place = *state;
    struct stat st;
    struct ah_err err;
    umask(022);
    assert_int_equal(write_root(place, "new/deep/er/file", "deep", NULL), 0);
    expect_file("w/new/deep/er/file", "deep");
    assert_int_equal(stat("w/new/deep/er/file", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    expect_entries("w/new/deep/er", 1);

    assert_int_equal(chmod("w/a", 0751), 0);
    assert_int_equal(write_root(place, "a", "", NULL), 0);
    expect_file("w/a", "");
    assert_int_equal(stat("w/a", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0751);
    if (geteuid() == 0) { /* the owner too */
        assert_int_equal(chown("w/a", 1234, 2345), 0);
        assert_int_equal(chmod("w/a", 0640), 0);
        assert_int_equal(write_root(place, "a", "x", NULL), 0);
        assert_int_equal(stat("w/a", &st), 0);
        assert_int_equal(st.st_uid, 1234);
        assert_int_equal(st.st_gid, 2345);
        assert_int_equal(st.st_mode & 07777, 0640);
    }

    assert_int_equal(write_root(place, "sub", "x", &err), -EISDIR);
    assert_string_equal(err.msg, "'sub' is a directory, not a file");
    assert_int_equal(write_root(place, "sub/", "x", &err), -EISDIR);
    assert_int_equal(write_root(place, ".", "x", &err), -EISDIR);
    assert_int_equal(write_root(place, "sub/..", "x", &err), -EISDIR);
    assert_int_equal(write_root(place, place->root_path, "x", &err), -EISDIR);
    assert_int_equal(write_root(place, "a/b", "x", &err), -ENOTDIR);
    assert_int_equal(write_root(place, "a/b/c", "x", &err), -ENOTDIR);
    /* No directory is made on a way that leads nowhere. */
    assert_int_equal(write_root(place, "none/../../out/x", "x", &err), -ENOENT);
    assert_int_equal(write_root(place, "none/../x", "x", &err), -ENOENT);
    assert_int_equal(access("w/none", F_OK), -1);
    char name[300];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_int_equal(write_root(place, name, "x", &err), -ENAMETOOLONG);
    expect_entries("w", 3);
}

static void test_read_only_file_stays(void **state)
{
    const struct place *place = *state;
    if (geteuid() == 0) {
        skip();
    }
    assert_int_equal(chmod("w/a", 0444), 0);
    assert_int_equal(write_root(place, "a", "x", NULL), -EACCES);
    expect_file("w/a", "text of a");
}

static void test_not_a_file(void **state)
{
    const struct place *place = *state;
    char text[64];
    struct ah_err err;
    struct stat st;
    assert_int_equal(mkfifo("w/fifo", 0600), 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "w/socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);

    assert_int_equal(read_root(place, "fifo", text, sizeof text, &err), -EINVAL);
    assert_string_equal(err.msg, "'fifo' is a fifo, not a file");
    assert_int_equal(write_root(place, "fifo", "x", &err), -EINVAL);
    assert_int_equal(read_root(place, "socket", text, sizeof text, &err), -ENXIO);
    assert_int_equal(write_root(place, "socket", "x", &err), -EINVAL);
    assert_int_equal(read_root(place, "sub", text, sizeof text, &err), -EISDIR);
    assert_string_equal(err.msg, "'sub' is a directory, not a file");
    assert_int_equal(read_root(place, "none", text, sizeof text, &err), -ENOENT);
    assert_int_equal(ah_root_stat(place->root, "fifo", &st, NULL), 0);
    assert_string_equal(ah_file_type(st.st_mode), "fifo");
    close(fd);

    struct ah_root *dev; /* a device that is beneath */
    struct ah_buf out;
    uint64_t size;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_root_open("/dev", &dev, NULL), 0);
    assert_int_equal(ah_root_read(dev, "zero", 100, &out, &size, &err), -EINVAL);
    assert_string_equal(err.msg, "'zero' is a device, not a file");
    assert_int_equal(ah_root_write(dev, "null", "x", 1, &err), -EINVAL);
    ah_root_free(dev);
}

static void test_read_bounds(void **state)
{
    const struct place *place = *state;
    struct ah_buf out;
    uint64_t size = 0;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_root_read(place->root, "a", 4, &out, &size, NULL), 0);
    assert_string_equal(ah_buf_str(&out), "text");
    assert_int_equal(size, 9);
    assert_int_equal(ah_root_read(place->root, "a", 9, &out, &size, NULL), 0);
    assert_string_equal(ah_buf_str(&out), "texttext of a");
    assert_int_equal(size, 9);
    assert_int_equal(ah_root_read(place->root, "a", 0, &out, &size, NULL), 0);
    assert_int_equal(size, 9);
    assert_int_equal(ah_root_read(place->root, "a", SIZE_MAX, &out, &size, NULL), 0);
    assert_int_equal(size, 9);
    ah_buf_clear(&out);
}

static void test_list(void **state)
{
    const struct place *place = *state;
    struct ah_file_list list;
    put("w/B", "");
    put("w/.hidden", "");
    assert_int_equal(symlink("../out", "w/link"), 0);
    assert_int_equal(ah_root_list(place->root, ".", 100, &list, NULL), 0);
    assert_int_equal(list.count, 5);
    assert_false(list.more);
    static const char *const names[] = {".hidden", "B", "a", "link", "sub"};
    static const char *const types[] = {"file", "file", "file", "link", "directory"};
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(list.entries[i].name, names[i]);
        assert_string_equal(list.entries[i].type, types[i]);
    }
    ah_file_list_clear(&list);
    assert_int_equal(ah_root_list(place->root, ".", 2, &list, NULL), 0);
    assert_int_equal(list.count, 2);
    assert_true(list.more);
    ah_file_list_clear(&list);
    assert_int_equal(ah_root_list(place->root, "sub", 0, &list, NULL), 0);
    assert_int_equal(list.count, 0);
    assert_false(list.more);
    assert_int_equal(ah_root_list(place->root, "a", 2, &list, NULL), -ENOTDIR);
}

/* The disk is full: the limit on the size of a file stands in for it. */
static void test_failed_write_keeps_the_old_file(void **state)
{
    const struct place *place = *state;
    static char big[200000];
    struct rlimit old;
    struct ah_err err;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {.rlim_cur = 100000, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = ah_root_write(place->root, "a", big, sizeof big, &err);
    int rc_new = ah_root_write(place->root, "b", big, sizeof big, &err);
    int rc_plain = ah_file_write("w/a", big, sizeof big, -1, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rc, -EFBIG);
    assert_int_equal(rc_new, -EFBIG);
    assert_int_equal(rc_plain, -EFBIG);
    expect_file("w/a", "text of a");
    expect_entries("w", 2);
}

/* A directory is exchanged for a link that leads out, over and over, while it is written to and
 * read from. */
static atomic_bool race_over;

static void *exchange(void *arg)
{
    (void)arg;
    while (!race_over) {
        renameat2(AT_FDCWD, "w/dir", AT_FDCWD, "w/link", RENAME_EXCHANGE);
    }
    return NULL;
}

static void test_race(void **state)
{
    const struct place *place = *state;
    pthread_t thread;
    int done = 0;
    int refused = 0;
    assert_int_equal(mkdir("w/dir", 0755), 0);
    assert_int_equal(mkdir("w/dir/deep", 0755), 0);
    assert_int_equal(mkdir("out/deep", 0755), 0);
    assert_int_equal(symlink("../out", "w/link"), 0);
    put("w/dir/secret", "inside");
    race_over = false;
    assert_int_equal(pthread_create(&thread, NULL, exchange, NULL), 0);
    for (int i = 0; i < 20000 && (i < 2000 || done == 0 || refused == 0); i++) {
        static const char *const paths[] = {"dir/secret", "dir/deep/../secret"};
        char text[64];
        int rc = write_root(place, paths[i % 2], "inside", NULL);
        done += rc == 0;
        refused += rc == -EXDEV;
        assert_true(rc == 0 || rc == -EXDEV || rc == -EAGAIN);
        rc = read_root(place, paths[i % 2], text, sizeof text, NULL);
        assert_true(rc == -EXDEV || rc == -EAGAIN || (rc == 0 && strcmp(text, "inside") == 0));
    }
    race_over = true;
    pthread_join(thread, NULL);
    assert_true(done > 0 && refused > 0);
    expect_file("out/secret", "secret");
    expect_entries("out", 2);
}

/* A rename anywhere makes the kernel say EAGAIN to a ".." that it resolves at the time. */
static atomic_int renames;

static void *rename_elsewhere(void *arg)
{
    (void)arg;
    while (!race_over) {
        rename("out/secret", "out/moved");
        rename("out/moved", "out/secret");
        renames++;
    }
    return NULL;
}

static void test_renames_elsewhere_do_not_matter(void **state)
{
    const struct place *place = *state;
    pthread_t thread;
    int failed = 0;
    race_over = false;
    assert_int_equal(pthread_create(&thread, NULL, rename_elsewhere, NULL), 0);
    renames = 0;
    for (int i = 0; i < 1000000 && (i < 20000 || renames < 5000); i++) {
        struct stat st;
        failed += ah_root_stat(place->root, "sub/../sub/../a", &st, NULL) != 0;
    }
    race_over = true;
    pthread_join(thread, NULL);
    assert_int_equal(failed, 0);
}

/* In a child whose kernel answers openat2 with `code`: what a read says. */
static void expect_with_openat2(const struct place *place, int code, const char *expected)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct sock_filter filter[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
            _exit(77);
        }
        char text[16];
        struct ah_err err = {0};
        int rc = read_root(place, "a", text, sizeof text, &err);
        _exit(rc == -code && strstr(err.msg, expected) != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 77) { /* 77: no seccomp here */
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void test_kernel_says_no(void **state)
{
    expect_with_openat2(*state, ENOSYS, "this needs openat2 (Linux 5.6)");
    expect_with_openat2(*state, EAGAIN, "try again");
}

static void test_open_failures(void **state)
{
    (void)state;
    struct ah_root *root = NULL;
    struct ah_err err;
    assert_int_equal(ah_root_open("none", &root, &err), -ENOENT);
    assert_int_equal(ah_root_open("w/a", &root, &err), -ENOTDIR);
    assert_null(root);
    ah_root_free(NULL);
}

static void test_unconfined_files(void **state)
{
    (void)state;
    struct stat st;
    struct ah_err err;
    int fd;
    assert_int_equal(ah_file_write("w/state", "one", 3, -1, &err), 0);
    assert_int_equal(ah_file_stat("w/state", &st, &err), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(ah_file_write("w/state", "two", 3, 0644, &err), 0);
    assert_int_equal(ah_file_write("w/state", "three", 5, -1, &err), 0);
    assert_int_equal(ah_file_stat("w/state", &st, &err), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    expect_file("w/state", "three");
    assert_int_equal(symlink("w/state", "statelink"), 0);
    assert_int_equal(ah_file_write("statelink", "four", 4, -1, &err), 0);
    expect_file("w/state", "four");
    assert_int_equal(lstat("statelink", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(ah_file_write("none/state", "x", 1, -1, &err), -ENOENT);
    assert_int_equal(ah_file_write("w/sub", "x", 1, -1, &err), -EISDIR);
    assert_int_equal(ah_file_write("w/new/", "x", 1, -1, &err), -EISDIR);

    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(ah_file_open_append("w/log", &fd, &err), 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(ah_file_write_fd(fd, "a\n", 2), 0);
    close(fd);
    assert_int_equal(ah_file_open_append("w/log", &fd, &err), 0);
    assert_int_equal(ah_file_write_fd(fd, "b\n", 2), 0);
    close(fd);
    expect_file("w/log", "a\nb\n");
    assert_int_equal(stat("w/log", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(ah_file_open_append("fifo", &fd, &err) < 0);
    assert_true(ah_file_open_append("w/sub", &fd, &err) < 0);
}

static void *drain(void *arg)
{
    char bytes[4096];
    size_t total = 0;
    ssize_t n;
    while ((n = read(*(int *)arg, bytes, sizeof bytes)) > 0) {
        total += (size_t)n;
    }
    return (void *)total;
}

static void test_write_fd_waits_for_room(void **state)
{
    (void)state;
    static char big[1000000];
    int fds[2];
    pthread_t thread;
    void *total;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(pthread_create(&thread, NULL, drain, &fds[0]), 0);
    assert_int_equal(ah_file_write_fd(fds[1], big, sizeof big), 0);
    close(fds[1]);
    pthread_join(thread, &total);
    assert_int_equal((size_t)total, sizeof big);
    close(fds[0]);

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[0]);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(ah_file_write_fd(fds[1], "x", 1), -EPIPE);
    signal(SIGPIPE, SIG_DFL);
    close(fds[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inside),
        TEST(test_opened_through_a_link),
        TEST(test_paths_that_lead_out),
        TEST(test_links_that_lead_out),
        TEST(test_magic_links),
        TEST(test_links_that_stay_inside),
        TEST(test_write),
        TEST(test_read_only_file_stays),
        TEST(test_not_a_file),
        TEST(test_read_bounds),
        TEST(test_list),
        TEST(test_failed_write_keeps_the_old_file),
        TEST(test_race),
        TEST(test_renames_elsewhere_do_not_matter),
        TEST(test_kernel_says_no),
        TEST(test_open_failures),
        TEST(test_unconfined_files),
        TEST(test_write_fd_waits_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
