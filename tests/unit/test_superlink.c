/* The protocol of host and supervisor: what was put comes out, and nothing else gets in. */
#include "core/superlink.h"
#include "core/task_status.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MUTATIONS 200000

static char *argv[] = {(char *)"sh", (char *)"-c", (char *)"echo \xff\x01", NULL};
static char *env[] = {(char *)"A=1", (char *)"B", (char *)"", NULL};

static const struct ah_link_hello hello = {.run = "run-1", .sweep = 1};
static const struct ah_link_spawn spawn = {.task = 0xdeadbeef,
                                           .id = "deadbeef",
                                           .command = "echo \xff",
                                           .label = "",
                                           .cwd = "/tmp",
                                           .output = "/tmp/out.log",
                                           .ledger = "/tmp/tasks.jsonl",
                                           .flags = AH_LINK_OWED | AH_LINK_PTY,
                                           .nice = -20,
                                           .timeout_ns = INT64_MAX,
                                           .grace_ns = 0,
                                           .max_output = UINT64_MAX,
                                           .max_memory = UINT64_MAX - 1,
                                           .max_cpu = 3,
                                           .max_files = 4,
                                           .argc = 3,
                                           .argv = argv,
                                           .envc = 3,
                                           .env = env};
static const struct ah_link_kill kill_order = {.task = 7, .grace_ns = 5, .by = "the model"};
static const struct ah_link_write write_order = {
    .task = 7, .end = 1, .len = 4, .data = "a\0\n\xff"};
static const struct ah_link_started started = {.task = 7, .pid = 4711};
static const struct ah_link_written written = {.task = 7, .len = 65536, .error = EPIPE};
static const struct ah_link_ended ended = {.task = 7,
                                           .status = AH_TASK_TIMEOUT,
                                           .code = -1,
                                           .signal = 15,
                                           .run_ns = INT64_MAX,
                                           .reason = "its time was over"};

static int put(struct ah_buf *packet, enum ah_link_type type)
{
    switch (type) {
    case AH_LINK_HELLO:
        return ah_link_put_hello(packet, &hello);
    case AH_LINK_SPAWN:
        return ah_link_put_spawn(packet, &spawn);
    case AH_LINK_KILL:
        return ah_link_put_kill(packet, &kill_order);
    case AH_LINK_WRITE:
        return ah_link_put_write(packet, &write_order);
    case AH_LINK_WRITTEN:
        return ah_link_put_written(packet, &written);
    case AH_LINK_STARTED:
        return ah_link_put_started(packet, &started);
    case AH_LINK_ENDED:
        return ah_link_put_ended(packet, &ended);
    }
    return -EINVAL;
}

/* Reads a packet as `type`, from memory of exactly its size; touches all that came out. */
static int get(const void *data, size_t len, enum ah_link_type type)
{
    char *packet = malloc(len > 0 ? len : 1);
    assert_non_null(packet);
    memcpy(packet, data, len);
    int rc = -EINVAL;
    size_t text = 0;
    union {
        struct ah_link_hello hello;
        struct ah_link_spawn spawn;
        struct ah_link_kill kill;
        struct ah_link_write write;
        struct ah_link_started started;
        struct ah_link_written written;
        struct ah_link_ended ended;
    } out;
    memset(&out, 0xa5, sizeof out);
    switch (type) {
    case AH_LINK_HELLO:
        rc = ah_link_get_hello(packet, len, &out.hello);
        text += rc == 0 ? strlen(out.hello.run) : 0;
        break;
    case AH_LINK_SPAWN:
        rc = ah_link_get_spawn(packet, len, &out.spawn);
        if (rc == 0) {
            text += strlen(out.spawn.id) + strlen(out.spawn.cwd) + strlen(out.spawn.output) +
                    strlen(out.spawn.command) + strlen(out.spawn.label) + strlen(out.spawn.ledger);
            for (uint32_t i = 0; i < out.spawn.argc; i++) {
                text += strlen(out.spawn.argv[i]);
            }
            for (uint32_t i = 0; i < out.spawn.envc; i++) {
                text += strlen(out.spawn.env[i]);
            }
            assert_true(out.spawn.argc > 0 && out.spawn.argv[out.spawn.argc] == NULL);
            assert_null(out.spawn.env[out.spawn.envc]);
            assert_true(out.spawn.timeout_ns >= 0 && out.spawn.grace_ns >= 0);
            ah_link_spawn_clear(&out.spawn);
        }
        break;
    case AH_LINK_KILL:
        rc = ah_link_get_kill(packet, len, &out.kill);
        text += rc == 0 ? strlen(out.kill.by) : 0;
        break;
    case AH_LINK_WRITE:
        rc = ah_link_get_write(packet, len, &out.write);
        if (rc == 0) {
            assert_true(out.write.len <= AH_LINK_WRITE_MAX);
            assert_ptr_equal(out.write.data + out.write.len, packet + len);
            text += out.write.len;
        }
        break;
    case AH_LINK_WRITTEN:
        rc = ah_link_get_written(packet, len, &out.written);
        break;
    case AH_LINK_STARTED:
        rc = ah_link_get_started(packet, len, &out.started);
        break;
    case AH_LINK_ENDED:
        rc = ah_link_get_ended(packet, len, &out.ended);
        text += rc == 0 ? strlen(out.ended.reason) : 0;
        assert_true(rc < 0 || ah_task_status_is_end(out.ended.status));
        break;
    }
    assert_true(text < len || rc < 0);
    if (rc < 0) { /* untouched on failure */
        for (size_t i = 0; i < sizeof out; i++) {
            assert_int_equal(((unsigned char *)&out)[i], 0xa5);
        }
    }
    free(packet);
    return rc;
}

static void test_round_trips(void **state)
{
    (void)state;
    struct ah_buf packet;
    ah_buf_init(&packet, AH_LINK_MAX);
    struct ah_link_hello h;
    assert_int_equal(ah_link_put_hello(&packet, &hello), 0);
    assert_int_equal(ah_link_type(packet.data, packet.len), AH_LINK_HELLO);
    assert_int_equal(ah_link_get_hello(packet.data, packet.len, &h), 0);
    assert_string_equal(h.run, "run-1");
    assert_int_equal(h.sweep, 1);

    struct ah_link_spawn s;
    assert_int_equal(ah_link_put_spawn(&packet, &spawn), 0); /* drops what was in the buffer */
    assert_int_equal(ah_link_get_spawn(packet.data, packet.len, &s), 0);
    assert_int_equal(s.task, spawn.task);
    assert_string_equal(s.id, spawn.id);
    assert_string_equal(s.command, spawn.command);
    assert_string_equal(s.label, spawn.label);
    assert_string_equal(s.ledger, spawn.ledger);
    assert_int_equal(s.flags, AH_LINK_OWED | AH_LINK_PTY);
    assert_int_equal(s.nice, -20);
    assert_true(s.max_memory == UINT64_MAX - 1 && s.max_cpu == 3 && s.max_files == 4);
    assert_string_equal(s.cwd, spawn.cwd);
    assert_string_equal(s.output, spawn.output);
    assert_true(s.timeout_ns == INT64_MAX && s.grace_ns == 0 && s.max_output == UINT64_MAX);
    assert_int_equal(s.argc, 3);
    assert_int_equal(s.envc, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(s.argv[i], argv[i]);
        assert_string_equal(s.env[i], env[i]);
    }
    assert_null(s.argv[3]);
    assert_null(s.env[3]);
    ah_link_spawn_clear(&s);
    ah_link_spawn_clear(&s);

    struct ah_link_kill k;
    assert_int_equal(ah_link_put_kill(&packet, &kill_order), 0);
    assert_int_equal(ah_link_get_kill(packet.data, packet.len, &k), 0);
    assert_int_equal(k.task, 7);
    assert_int_equal(k.grace_ns, 5);
    assert_string_equal(k.by, "the model");
    struct ah_link_write w;
    assert_int_equal(ah_link_put_write(&packet, &write_order), 0);
    assert_int_equal(ah_link_get_write(packet.data, packet.len, &w), 0);
    assert_true(w.task == 7 && w.end == 1 && w.len == 4);
    assert_memory_equal(w.data, write_order.data, 4);
    struct ah_link_written wr;
    assert_int_equal(ah_link_put_written(&packet, &written), 0);
    assert_int_equal(ah_link_get_written(packet.data, packet.len, &wr), 0);
    assert_true(wr.task == 7 && wr.len == 65536 && wr.error == EPIPE);
    struct ah_link_started st;
    assert_int_equal(ah_link_put_started(&packet, &started), 0);
    assert_int_equal(ah_link_get_started(packet.data, packet.len, &st), 0);
    assert_int_equal(st.task, 7);
    assert_int_equal(st.pid, 4711);
    struct ah_link_ended e;
    assert_int_equal(ah_link_put_ended(&packet, &ended), 0);
    assert_int_equal(ah_link_get_ended(packet.data, packet.len, &e), 0);
    assert_true(e.task == 7 && e.status == AH_TASK_TIMEOUT && e.code == -1 && e.signal == 15);
    assert_true(e.run_ns == INT64_MAX);
    assert_string_equal(e.reason, ended.reason);
    ah_buf_clear(&packet);
}

static void test_cut_and_trailing(void **state)
{
    (void)state;
    for (int type = AH_LINK_HELLO; type <= AH_LINK_ENDED; type++) {
        struct ah_buf packet;
        ah_buf_init(&packet, 0);
        assert_int_equal(put(&packet, type), 0);
        assert_int_equal(get(packet.data, packet.len, type), 0);
        for (size_t len = 0; len < packet.len; len++) {
            assert_int_equal(get(packet.data, len, type), -EBADMSG);
            /* and with a header that agrees with the cut */
            char *cut = malloc(len + 1);
            assert_non_null(cut);
            memcpy(cut, packet.data, len);
            if (len >= 12) {
                memcpy(cut + 8, &(uint32_t){(uint32_t)len}, 4);
            }
            assert_int_equal(get(cut, len, type), -EBADMSG);
            free(cut);
        }
        for (int more = 1; more < 20; more++) {
            assert_int_equal(ah_buf_add(&packet, "", 1), 0);
            assert_int_equal(get(packet.data, packet.len, type), -EBADMSG);
            memcpy(packet.data + 8, &(uint32_t){(uint32_t)packet.len}, 4);
            assert_int_equal(get(packet.data, packet.len, type), -EBADMSG);
        }
        ah_buf_clear(&packet);
    }
}

static void test_wrong_headers(void **state)
{
    (void)state;
    for (int type = AH_LINK_HELLO; type <= AH_LINK_ENDED; type++) {
        struct ah_buf packet;
        ah_buf_init(&packet, 0);
        assert_int_equal(put(&packet, type), 0);
        for (int other = 0; other <= AH_LINK_ENDED + 1; other++) {
            if (other != type && other >= AH_LINK_HELLO && other <= AH_LINK_ENDED) {
                assert_int_equal(get(packet.data, packet.len, other), -EBADMSG);
            }
        }
        for (size_t at = 0; at < 12; at++) { /* any bit of the header */
            for (int bit = 0; bit < 8; bit++) {
                packet.data[at] ^= (char)(1 << bit);
                assert_int_equal(get(packet.data, packet.len, type), -EBADMSG);
                bool is_type = at == 6 || at == 7;
                int seen = ah_link_type(packet.data, packet.len);
                assert_true(seen == -EBADMSG || (is_type && seen != type));
                packet.data[at] ^= (char)(1 << bit);
            }
        }
        assert_int_equal(get(packet.data, packet.len, type), 0);
        ah_buf_clear(&packet);
    }
}

/* Where the count of argv stands in the packet of `spawn`. */
static size_t argc_offset(void)
{
    size_t texts = (4 + 9) + (4 + 7) + (4 + 1) + (4 + 5) + (4 + 13) + (4 + 17);
    return 12 + 8 + texts + 2 * 4 + 6 * 8;
}

static void test_bad_lists_and_texts(void **state)
{
    (void)state;
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    assert_int_equal(put(&packet, AH_LINK_SPAWN), 0);
    uint32_t count;
    memcpy(&count, packet.data + argc_offset(), sizeof count);
    assert_int_equal(count, 3);
    const uint32_t bad[] = {0, 1, 2, 4, 5, AH_LINK_MAX_ITEMS, AH_LINK_MAX_ITEMS + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(packet.data + argc_offset(), &bad[i], sizeof count);
        assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), -EBADMSG);
    }
    memcpy(packet.data + argc_offset(), &count, sizeof count);
    const uint32_t lengths[] = {0, 7, 9, 1000, INT32_MAX, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(packet.data + 20, &lengths[i], sizeof count); /* of the id */
        assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), -EBADMSG);
    }
    memcpy(packet.data + 20, &(uint32_t){8}, sizeof count);
    packet.data[24 + 3] = '\0'; /* a NUL inside the id */
    assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), -EBADMSG);
    packet.data[24 + 3] = 'd';
    packet.data[24 + 8] = 'x'; /* none behind it */
    assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), -EBADMSG);
    packet.data[24 + 8] = '\0';
    assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), 0);

    struct ah_link_spawn none = spawn;
    none.argc = 0;
    assert_int_equal(ah_link_put_spawn(&packet, &none), 0);
    assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), -EBADMSG);
    struct ah_link_spawn negative = spawn;
    negative.grace_ns = -1;
    assert_int_equal(ah_link_put_spawn(&packet, &negative), 0);
    assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), -EBADMSG);
    negative = spawn;
    negative.timeout_ns = -1;
    assert_int_equal(ah_link_put_spawn(&packet, &negative), 0);
    assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), -EBADMSG);
    struct ah_link_kill impatient = {.grace_ns = -1, .by = ""};
    assert_int_equal(ah_link_put_kill(&packet, &impatient), 0);
    assert_int_equal(get(packet.data, packet.len, AH_LINK_KILL), -EBADMSG);
    ah_buf_clear(&packet);
}

static void test_limits(void **state)
{
    (void)state;
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    char *text = malloc(AH_LINK_MAX + 1);
    assert_non_null(text);
    memset(text, 'x', AH_LINK_MAX);
    struct ah_link_hello big = {.run = text};
    size_t most = AH_LINK_MAX - 12 - 4 - 1 - 4;
    text[most] = '\0';
    assert_int_equal(ah_link_put_hello(&packet, &big), 0);
    assert_int_equal(packet.len, AH_LINK_MAX);
    assert_int_equal(get(packet.data, packet.len, AH_LINK_HELLO), 0);
    text[most] = 'x';
    text[most + 1] = '\0';
    assert_int_equal(ah_link_put_hello(&packet, &big), -EMSGSIZE);
    assert_int_equal(packet.len, 0);
    text[most + 1] = 'x';
    text[AH_LINK_MAX] = '\0';
    assert_int_equal(ah_link_put_hello(&packet, &big), -EMSGSIZE);
    free(text);

    static char *items[AH_LINK_MAX_ITEMS + 2];
    for (int i = 0; i <= AH_LINK_MAX_ITEMS; i++) {
        items[i] = (char *)"a";
    }
    struct ah_link_spawn many = spawn;
    many.argv = items;
    many.argc = AH_LINK_MAX_ITEMS;
    many.env = items;
    many.envc = AH_LINK_MAX_ITEMS;
    assert_int_equal(ah_link_put_spawn(&packet, &many), 0);
    assert_int_equal(get(packet.data, packet.len, AH_LINK_SPAWN), 0);
    many.envc++;
    assert_int_equal(ah_link_put_spawn(&packet, &many), -EMSGSIZE);
    assert_int_equal(packet.len, 0);
    ah_buf_clear(&packet);
}

/* The length of a WRITE is bounded, and agrees with the packet. */
static void test_write_lengths(void **state)
{
    (void)state;
    static char bytes[AH_LINK_WRITE_MAX + 1];
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    struct ah_link_write most = {.task = 1, .len = AH_LINK_WRITE_MAX, .data = bytes};
    assert_int_equal(ah_link_put_write(&packet, &most), 0);
    assert_int_equal(get(packet.data, packet.len, AH_LINK_WRITE), 0);
    most.len++;
    assert_int_equal(ah_link_put_write(&packet, &most), -EMSGSIZE);
    assert_int_equal(packet.len, 0);
    struct ah_link_write none = {.task = 1, .end = 1, .data = ""};
    assert_int_equal(ah_link_put_write(&packet, &none), 0);
    assert_int_equal(get(packet.data, packet.len, AH_LINK_WRITE), 0);

    assert_int_equal(ah_link_put_write(&packet, &write_order), 0);
    const uint32_t lengths[] = {0, 3, 5, AH_LINK_WRITE_MAX, INT32_MAX, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(packet.data + 24, &lengths[i], 4);
        assert_int_equal(get(packet.data, packet.len, AH_LINK_WRITE), -EBADMSG);
    }
    /* One byte more than the bound, with a header and a length that agree. */
    struct ah_buf large;
    ah_buf_init(&large, 0);
    assert_int_equal(ah_buf_add(&large, packet.data, 28), 0);
    assert_int_equal(ah_buf_add(&large, bytes, sizeof bytes), 0);
    memcpy(large.data + 8, &(uint32_t){(uint32_t)large.len}, 4);
    memcpy(large.data + 24, &(uint32_t){sizeof bytes}, 4);
    assert_int_equal(get(large.data, large.len, AH_LINK_WRITE), -EBADMSG);
    ah_buf_clear(&large);
    ah_buf_clear(&packet);
}

/* An end has the status of an end. */
static void test_ended_status(void **state)
{
    (void)state;
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    for (uint32_t status = 0; status < 12; status++) {
        struct ah_link_ended end = ended;
        end.status = status;
        assert_int_equal(ah_link_put_ended(&packet, &end), 0);
        bool is_end = status >= AH_TASK_COMPLETED && status <= AH_TASK_ERROR;
        assert_int_equal(get(packet.data, packet.len, AH_LINK_ENDED), is_end ? 0 : -EBADMSG);
    }
    ah_buf_clear(&packet);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Random changes to good packets, with a header that agrees: never more than -EBADMSG. */
static void test_mutations(void **state)
{
    (void)state;
    uint32_t seed = 20240501;
    unsigned accepted = 0;
    for (int round = 0; round < MUTATIONS; round++) {
        enum ah_link_type type = AH_LINK_HELLO + next_random(&seed) % AH_LINK_ENDED;
        struct ah_buf packet;
        ah_buf_init(&packet, 0);
        assert_int_equal(put(&packet, type), 0);
        for (uint32_t n = 1 + next_random(&seed) % 4; n > 0; n--) {
            uint32_t at = next_random(&seed) % (uint32_t)packet.len;
            static const unsigned char values[] = {0, 1, 0x7f, 0x80, 0xff};
            uint32_t what = next_random(&seed);
            packet.data[at] = (char)(what % 2 != 0 ? values[what / 2 % 5] : what / 2 % 256);
        }
        if (next_random(&seed) % 4 == 0) {
            packet.len = next_random(&seed) % (packet.len + 1);
        }
        if (packet.len >= 12 && next_random(&seed) % 8 != 0) {
            uint16_t kind = (uint16_t)type;
            memcpy(packet.data, &(uint32_t){0x4b4e4c41u}, 4);
            memcpy(packet.data + 4, &(uint16_t){AH_LINK_VERSION}, 2);
            memcpy(packet.data + 6, &kind, 2);
            memcpy(packet.data + 8, &(uint32_t){(uint32_t)packet.len}, 4);
        }
        int rc = get(packet.data, packet.len, type);
        assert_true(rc == 0 || rc == -EBADMSG);
        accepted += rc == 0 ? 1 : 0;
        ah_buf_clear(&packet);
    }
    assert_in_range(accepted, 1, MUTATIONS - 1); /* the mutations are not all of one kind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),   cmocka_unit_test(test_cut_and_trailing),
        cmocka_unit_test(test_wrong_headers), cmocka_unit_test(test_bad_lists_and_texts),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_write_lengths),
        cmocka_unit_test(test_ended_status),  cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
