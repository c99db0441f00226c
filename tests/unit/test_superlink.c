/* The protocol of host and supervisor: what was put comes out, and nothing else gets in. */
#include "core/superlink.h"

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
                                           .cwd = "/tmp",
                                           .output = "/tmp/out.log",
                                           .timeout_ns = INT64_MAX,
                                           .grace_ns = 0,
                                           .max_output = UINT64_MAX,
                                           .argc = 3,
                                           .argv = argv,
                                           .envc = 3,
                                           .env = env};
static const struct ah_link_kill kill_order = {.task = 7, .grace_ns = 5};
static const struct ah_link_started started = {.task = 7, .pid = 4711};
static const struct ah_link_ended ended = {.task = 7,
                                           .how = AH_LINK_NOT_STARTED,
                                           .cause = AH_LINK_TIMEOUT,
                                           .value = -3,
                                           .stage = AH_LINK_STAGE_EXEC};

static int put(struct ah_buf *packet, enum ah_link_type type)
{
    switch (type) {
    case AH_LINK_HELLO:
        return ah_link_put_hello(packet, &hello);
    case AH_LINK_SPAWN:
        return ah_link_put_spawn(packet, &spawn);
    case AH_LINK_KILL:
        return ah_link_put_kill(packet, &kill_order);
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
        struct ah_link_started started;
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
            text += strlen(out.spawn.id) + strlen(out.spawn.cwd) + strlen(out.spawn.output);
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
        break;
    case AH_LINK_STARTED:
        rc = ah_link_get_started(packet, len, &out.started);
        break;
    case AH_LINK_ENDED:
        rc = ah_link_get_ended(packet, len, &out.ended);
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
    struct ah_link_started st;
    assert_int_equal(ah_link_put_started(&packet, &started), 0);
    assert_int_equal(ah_link_get_started(packet.data, packet.len, &st), 0);
    assert_int_equal(st.task, 7);
    assert_int_equal(st.pid, 4711);
    struct ah_link_ended e;
    assert_int_equal(ah_link_put_ended(&packet, &ended), 0);
    assert_int_equal(ah_link_get_ended(packet.data, packet.len, &e), 0);
    assert_memory_equal(&e, &ended, sizeof e);
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
    return 12 + 8 + (4 + 9) + (4 + 5) + (4 + 13) + 3 * 8;
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
    assert_int_equal(ah_link_put_kill(&packet, &(struct ah_link_kill){.grace_ns = -1}), 0);
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
        enum ah_link_type type = AH_LINK_HELLO + next_random(&seed) % 5;
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
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
