/* The supervisor by itself, spoken to over its socket: whatever comes, it serves on. */
#include "kit.h"

#include "core/superproc.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

struct link {
    struct kit *kit;
    pid_t pid;
    int fd;
    char packet[AH_LINK_MAX];
};

static void send_bytes(struct link *link, const void *data, size_t len)
{
    assert_int_equal(send(link->fd, data, len, MSG_NOSIGNAL), len);
}

static void send_packet(struct link *link, struct ah_buf *packet, int rc)
{
    assert_int_equal(rc, 0);
    send_bytes(link, packet->data, packet->len);
}

static struct ah_link_spawn make_order(struct link *link, uint64_t number, char **argv)
{
    static char output[200];
    snprintf(output, sizeof output, "%s/output", link->kit->dir);
    struct ah_link_spawn order = {.task = number,
                                  .id = "00000001",
                                  .command = "test",
                                  .label = "",
                                  .cwd = link->kit->dir,
                                  .output = output,
                                  .ledger = "",
                                  .argv = argv};
    while (argv[order.argc] != NULL) {
        order.argc++;
    }
    return order;
}

/* The next packet; its length. */
static size_t receive(struct link *link)
{
    struct pollfd fd = {.fd = link->fd, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, (int)(PATIENCE / 1000000)), 1);
    ssize_t len = recv(link->fd, link->packet, sizeof link->packet, 0);
    assert_in_range(len, 1, sizeof link->packet);
    return (size_t)len;
}

static void expect_started(struct link *link, uint64_t number)
{
    struct ah_link_started started;
    assert_int_equal(ah_link_get_started(link->packet, receive(link), &started), 0);
    assert_int_equal(started.task, number);
    assert_true(started.pid > 0);
}

static void expect_ended(struct link *link, uint64_t number, enum ah_task_status status, int code)
{
    struct ah_link_ended ended;
    assert_int_equal(ah_link_get_ended(link->packet, receive(link), &ended), 0);
    assert_int_equal(ended.task, number);
    assert_int_equal(ended.status, status);
    assert_int_equal(ended.code, code);
}

/* It still works: a command is run, and nothing else is reported. */
static void expect_service(struct link *link)
{
    static uint64_t number = 1000;
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    char *argv[] = {(char *)CHILD, (char *)"exit", (char *)"3", NULL};
    struct ah_link_spawn order = make_order(link, ++number, argv);
    send_packet(link, &packet, ah_link_put_spawn(&packet, &order));
    expect_started(link, number);
    expect_ended(link, number, AH_TASK_FAILED, 3);
    ah_buf_clear(&packet);
}

static int setup(void **state)
{
    struct link *link = calloc(1, sizeof *link);
    assert_non_null(link);
    void *kit = NULL;
    assert_int_equal(kit_setup(&kit), 0);
    link->kit = kit;
    struct ah_err err = {0};
    assert_int_equal(ah_superproc_start(SUPERVISOR, &link->pid, &link->fd, &err), 0);
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    struct ah_link_hello hello = {.run = link->kit->run};
    send_packet(link, &packet, ah_link_put_hello(&packet, &hello));
    ah_buf_clear(&packet);
    *state = link;
    return 0;
}

static int teardown(void **state)
{
    struct link *link = *state;
    bool in_order = ah_superproc_stop(link->pid, &link->fd, 10 * SECOND);
    void *kit = link->kit;
    free(link);
    assert_true(in_order);
    return kit_teardown(&kit);
}

static void test_malformed_packets(void **state)
{
    struct link *link = *state;
    static char zeros[AH_LINK_MAX + 100];
    expect_service(link);
    send_bytes(link, "x", 1);
    send_bytes(link, zeros, 12);
    send_bytes(link, zeros, AH_LINK_MAX);
    send_bytes(link, zeros, sizeof zeros); /* longer than a packet may be */
    expect_service(link);
    /* Types that only the supervisor sends. */
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    struct ah_link_started started = {.task = 1, .pid = 1};
    struct ah_link_written written = {.task = 1, .len = 1};
    struct ah_link_ended ended = {.task = 1, .status = AH_TASK_FAILED, .reason = ""};
    send_packet(link, &packet, ah_link_put_started(&packet, &started));
    send_packet(link, &packet, ah_link_put_written(&packet, &written));
    send_packet(link, &packet, ah_link_put_ended(&packet, &ended));
    expect_service(link);
    ah_buf_clear(&packet);
}

/* Orders that are broken in every way: cut, lengthened, and with any byte of them changed. The only
 * thing that may come back is the report of a task that could be read out of it. */
static void test_malformed_writes(void **state)
{
    struct link *link = *state;
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    char *argv[] = {(char *)"cat", NULL};
    struct ah_link_spawn order = make_order(link, 7, argv);
    order.flags = AH_LINK_STDIN;
    send_packet(link, &packet, ah_link_put_spawn(&packet, &order));
    expect_started(link, 7);

    struct ah_link_write good = {.task = 7, .len = 5, .data = "hello"};
    assert_int_equal(ah_link_put_write(&packet, &good), 0);
    for (size_t len = 1; len < packet.len; len++) {
        char *cut = malloc(len);
        assert_non_null(cut);
        memcpy(cut, packet.data, len);
        send_bytes(link, cut, len);
        if (len >= 12) {
            memcpy(cut + 8, &(uint32_t){(uint32_t)len}, 4); /* the header agrees */
            send_bytes(link, cut, len);
        }
        free(cut);
    }
    static const uint32_t lengths[] = {0, 4, 6, AH_LINK_WRITE_MAX, INT32_MAX, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(packet.data + 24, &lengths[i], 4);
        send_bytes(link, packet.data, packet.len);
    }
    memcpy(packet.data + 24, &(uint32_t){5}, 4);
    struct ah_link_write unknown = {.task = 8, .len = 1, .data = "x"}; /* of no task: ignored */
    send_packet(link, &packet, ah_link_put_write(&packet, &unknown));
    struct ah_link_write end = {.task = 7, .len = 6, .data = "world\n", .end = 1};
    send_packet(link, &packet, ah_link_put_write(&packet, &end));
    struct ah_link_written written;
    assert_int_equal(ah_link_get_written(link->packet, receive(link), &written), 0);
    assert_true(written.task == 7 && written.len == 6 && written.error == 0);
    expect_ended(link, 7, AH_TASK_COMPLETED, 0);
    char text[64];
    assert_int_equal(read_some(order.output, text, sizeof text - 1), 6);
    assert_string_equal(text, "world\n"); /* and none of the others */
    /* Late ones, and ones for a task that takes nothing. */
    send_packet(link, &packet, ah_link_put_write(&packet, &good));
    char *sleeper[] = {(char *)CHILD, (char *)"pause", NULL};
    order = make_order(link, 9, sleeper);
    send_packet(link, &packet, ah_link_put_spawn(&packet, &order));
    expect_started(link, 9);
    good.task = 9;
    send_packet(link, &packet, ah_link_put_write(&packet, &good));
    assert_int_equal(ah_link_get_written(link->packet, receive(link), &written), 0);
    assert_true(written.task == 9 && written.len == 5 && written.error == EPIPE);
    struct ah_link_kill kill_order = {.task = 9, .by = "test"};
    send_packet(link, &packet, ah_link_put_kill(&packet, &kill_order));
    expect_ended(link, 9, AH_TASK_KILLED, -1);
    expect_service(link);
    ah_buf_clear(&packet);
}

/* More than the host may have waiting: refused, not kept. */
static void test_too_much_waits(void **state)
{
    struct link *link = *state;
    static char bytes[AH_LINK_WRITE_MAX];
    struct ah_buf packet;
    ah_buf_init(&packet, 0);
    char *argv[] = {(char *)CHILD, (char *)"pause", NULL};
    struct ah_link_spawn order = make_order(link, 7, argv);
    order.flags = AH_LINK_STDIN;
    send_packet(link, &packet, ah_link_put_spawn(&packet, &order));
    expect_started(link, 7);
    struct ah_link_write more = {.task = 7, .len = sizeof bytes, .data = bytes};
    struct ah_link_written written = {0};
    for (int i = 0; i < 100 && written.error == 0; i++) {
        send_packet(link, &packet, ah_link_put_write(&packet, &more));
        struct pollfd fd = {.fd = link->fd, .events = POLLIN};
        if (poll(&fd, 1, 20) == 1) {
            assert_int_equal(ah_link_get_written(link->packet, receive(link), &written), 0);
        }
    }
    assert_int_equal(written.error, EPIPE);
    struct ah_link_kill kill_order = {.task = 7, .by = "test"};
    send_packet(link, &packet, ah_link_put_kill(&packet, &kill_order));
    while (ah_link_type(link->packet, receive(link)) == AH_LINK_WRITTEN) {
    }
    expect_service(link);
    ah_buf_clear(&packet);
}

int main(int argc, char **argv)
{
#define with_link(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_link(test_malformed_packets),
        with_link(test_malformed_writes),
        with_link(test_too_much_waits),
    };
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
