#include "superlink.h"

#include "task_status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x4b4e4c41u /* "ALNK" */

struct header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint32_t len; /* of the whole packet */
};

/* ---- writing ---- */

/* Collects the first failure, so that a message is written without a check a line. */
struct writer {
    struct ah_buf *packet;
    int rc;
};

static void put(struct writer *w, const void *data, size_t len)
{
    if (w->rc == 0) {
        w->rc = w->packet->len + len > AH_LINK_MAX ? -EMSGSIZE : ah_buf_add(w->packet, data, len);
    }
}

static void put_u32(struct writer *w, uint32_t value)
{
    put(w, &value, sizeof value);
}

static void put_u64(struct writer *w, uint64_t value)
{
    put(w, &value, sizeof value);
}

/* The NUL goes along, so that the other end can use the text where it lies. */
static void put_text(struct writer *w, const char *text)
{
    size_t len = strlen(text);
    put_u32(w, (uint32_t)len);
    put(w, text, len + 1);
}

static void put_list(struct writer *w, char **items, uint32_t count)
{
    if (count > AH_LINK_MAX_ITEMS && w->rc == 0) {
        w->rc = -EMSGSIZE;
    }
    put_u32(w, count);
    for (uint32_t i = 0; i < count && w->rc == 0; i++) {
        put_text(w, items[i]);
    }
}

static struct writer begin(struct ah_buf *packet, enum ah_link_type type)
{
    struct writer w = {.packet = packet};
    packet->len = 0;
    struct header header = {.magic = MAGIC, .version = AH_LINK_VERSION, .type = (uint16_t)type};
    put(&w, &header, sizeof header);
    return w;
}

static int finish(struct writer *w)
{
    if (w->rc == 0) {
        uint32_t len = (uint32_t)w->packet->len;
        memcpy(w->packet->data + offsetof(struct header, len), &len, sizeof len);
    } else {
        w->packet->len = 0;
    }
    return w->rc;
}

int ah_link_put_hello(struct ah_buf *packet, const struct ah_link_hello *hello)
{
    struct writer w = begin(packet, AH_LINK_HELLO);
    put_text(&w, hello->run);
    put_u32(&w, hello->sweep);
    return finish(&w);
}

int ah_link_put_spawn(struct ah_buf *packet, const struct ah_link_spawn *spawn)
{
    struct writer w = begin(packet, AH_LINK_SPAWN);
    put_u64(&w, spawn->task);
    put_text(&w, spawn->id);
    put_text(&w, spawn->command);
    put_text(&w, spawn->label);
    put_text(&w, spawn->cwd);
    put_text(&w, spawn->output);
    put_text(&w, spawn->ledger);
    put_u32(&w, spawn->flags);
    put_u32(&w, (uint32_t)spawn->nice);
    put_u64(&w, (uint64_t)spawn->timeout_ns);
    put_u64(&w, (uint64_t)spawn->grace_ns);
    put_u64(&w, spawn->max_output);
    put_u64(&w, spawn->max_memory);
    put_u64(&w, spawn->max_cpu);
    put_u64(&w, spawn->max_files);
    put_list(&w, spawn->argv, spawn->argc);
    put_list(&w, spawn->env, spawn->envc);
    return finish(&w);
}

int ah_link_put_kill(struct ah_buf *packet, const struct ah_link_kill *kill)
{
    struct writer w = begin(packet, AH_LINK_KILL);
    put_u64(&w, kill->task);
    put_u64(&w, (uint64_t)kill->grace_ns);
    put_u32(&w, kill->signal);
    put_text(&w, kill->by);
    return finish(&w);
}

int ah_link_put_write(struct ah_buf *packet, const struct ah_link_write *write)
{
    struct writer w = begin(packet, AH_LINK_WRITE);
    if (write->len > AH_LINK_WRITE_MAX) {
        w.rc = -EMSGSIZE;
    }
    put_u64(&w, write->task);
    put_u32(&w, write->end);
    put_u32(&w, write->len);
    put(&w, write->data, write->len);
    return finish(&w);
}

int ah_link_put_started(struct ah_buf *packet, const struct ah_link_started *started)
{
    struct writer w = begin(packet, AH_LINK_STARTED);
    put_u64(&w, started->task);
    put_u64(&w, (uint64_t)started->pid);
    return finish(&w);
}

int ah_link_put_written(struct ah_buf *packet, const struct ah_link_written *written)
{
    struct writer w = begin(packet, AH_LINK_WRITTEN);
    put_u64(&w, written->task);
    put_u32(&w, written->len);
    put_u32(&w, (uint32_t)written->error);
    return finish(&w);
}

int ah_link_put_ended(struct ah_buf *packet, const struct ah_link_ended *ended)
{
    struct writer w = begin(packet, AH_LINK_ENDED);
    put_u64(&w, ended->task);
    put_u32(&w, ended->status);
    put_u32(&w, (uint32_t)ended->code);
    put_u32(&w, (uint32_t)ended->signal);
    put_u64(&w, (uint64_t)ended->run_ns);
    put_text(&w, ended->reason);
    return finish(&w);
}

/* ---- reading ---- */

struct reader {
    const char *at;
    size_t left;
    int rc;
};

static void get(struct reader *r, void *out, size_t len)
{
    if (r->rc == 0 && r->left < len) {
        r->rc = -EBADMSG;
    }
    if (r->rc != 0) {
        memset(out, 0, len);
        return;
    }
    memcpy(out, r->at, len);
    r->at += len;
    r->left -= len;
}

static uint32_t get_u32(struct reader *r)
{
    uint32_t value;
    get(r, &value, sizeof value);
    return value;
}

static uint64_t get_u64(struct reader *r)
{
    uint64_t value;
    get(r, &value, sizeof value);
    return value;
}

static const char *get_text(struct reader *r)
{
    size_t len = get_u32(r);
    if (r->rc == 0 && (r->left < len + 1 || r->at[len] != '\0' || strlen(r->at) != len)) {
        r->rc = -EBADMSG;
    }
    if (r->rc != 0) {
        return "";
    }
    const char *text = r->at;
    r->at += len + 1;
    r->left -= len + 1;
    return text;
}

static char **get_list(struct reader *r, uint32_t *ret_count)
{
    uint32_t count = get_u32(r);
    *ret_count = 0;
    if (r->rc == 0 && count > AH_LINK_MAX_ITEMS) {
        r->rc = -EBADMSG;
    }
    if (r->rc != 0) {
        return NULL;
    }
    char **items = calloc((size_t)count + 1, sizeof *items);
    if (items == NULL) {
        r->rc = -ENOMEM;
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        items[i] = (char *)get_text(r);
    }
    *ret_count = count;
    return items;
}

int ah_link_type(const void *packet, size_t len)
{
    struct header header;
    if (len < sizeof header) {
        return -EBADMSG;
    }
    memcpy(&header, packet, sizeof header);
    if (header.magic != MAGIC || header.version != AH_LINK_VERSION || header.len != len ||
        header.type < AH_LINK_HELLO || header.type > AH_LINK_ENDED) {
        return -EBADMSG;
    }
    return header.type;
}

static struct reader open_packet(const void *packet, size_t len, enum ah_link_type type)
{
    struct reader r = {.rc = ah_link_type(packet, len) == (int)type ? 0 : -EBADMSG};
    if (r.rc == 0) {
        r.at = (const char *)packet + sizeof(struct header);
        r.left = len - sizeof(struct header);
    }
    return r;
}

static int end_packet(const struct reader *r)
{
    if (r->rc == 0 && r->left != 0) {
        return -EBADMSG;
    }
    return r->rc;
}

int ah_link_get_hello(const void *packet, size_t len, struct ah_link_hello *ret_hello)
{
    struct reader r = open_packet(packet, len, AH_LINK_HELLO);
    struct ah_link_hello hello = {.run = get_text(&r)};
    hello.sweep = get_u32(&r);
    int rc = end_packet(&r);
    if (rc == 0) {
        *ret_hello = hello;
    }
    return rc;
}

int ah_link_get_spawn(const void *packet, size_t len, struct ah_link_spawn *ret_spawn)
{
    struct reader r = open_packet(packet, len, AH_LINK_SPAWN);
    struct ah_link_spawn spawn = {.task = get_u64(&r)};
    spawn.id = get_text(&r);
    spawn.command = get_text(&r);
    spawn.label = get_text(&r);
    spawn.cwd = get_text(&r);
    spawn.output = get_text(&r);
    spawn.ledger = get_text(&r);
    spawn.flags = get_u32(&r);
    spawn.nice = (int32_t)get_u32(&r);
    spawn.timeout_ns = (int64_t)get_u64(&r);
    spawn.grace_ns = (int64_t)get_u64(&r);
    spawn.max_output = get_u64(&r);
    spawn.max_memory = get_u64(&r);
    spawn.max_cpu = get_u64(&r);
    spawn.max_files = get_u64(&r);
    spawn.argv = get_list(&r, &spawn.argc);
    spawn.env = get_list(&r, &spawn.envc);
    int rc = end_packet(&r);
    if (rc == 0 && (spawn.argc == 0 || spawn.timeout_ns < 0 || spawn.grace_ns < 0)) {
        rc = -EBADMSG;
    }
    if (rc == 0) {
        *ret_spawn = spawn;
    } else {
        ah_link_spawn_clear(&spawn);
    }
    return rc;
}

int ah_link_get_kill(const void *packet, size_t len, struct ah_link_kill *ret_kill)
{
    struct reader r = open_packet(packet, len, AH_LINK_KILL);
    struct ah_link_kill kill = {.task = get_u64(&r)};
    kill.grace_ns = (int64_t)get_u64(&r);
    kill.signal = get_u32(&r);
    kill.by = get_text(&r);
    int rc = kill.grace_ns < 0 || kill.signal > AH_LINK_SIGNAL_MAX ? -EBADMSG : end_packet(&r);
    if (rc == 0) {
        *ret_kill = kill;
    }
    return rc;
}

int ah_link_get_write(const void *packet, size_t len, struct ah_link_write *ret_write)
{
    struct reader r = open_packet(packet, len, AH_LINK_WRITE);
    struct ah_link_write write = {.task = get_u64(&r)};
    write.end = get_u32(&r);
    write.len = get_u32(&r);
    if (r.rc == 0 && (write.len > AH_LINK_WRITE_MAX || write.len != r.left)) {
        r.rc = -EBADMSG;
    }
    if (r.rc == 0) {
        write.data = r.at;
        *ret_write = write;
    }
    return r.rc;
}

int ah_link_get_started(const void *packet, size_t len, struct ah_link_started *ret_started)
{
    struct reader r = open_packet(packet, len, AH_LINK_STARTED);
    struct ah_link_started started = {.task = get_u64(&r)};
    started.pid = (int64_t)get_u64(&r);
    int rc = end_packet(&r);
    if (rc == 0) {
        *ret_started = started;
    }
    return rc;
}

int ah_link_get_written(const void *packet, size_t len, struct ah_link_written *ret_written)
{
    struct reader r = open_packet(packet, len, AH_LINK_WRITTEN);
    struct ah_link_written written = {.task = get_u64(&r)};
    written.len = get_u32(&r);
    written.error = (int32_t)get_u32(&r);
    int rc = end_packet(&r);
    if (rc == 0) {
        *ret_written = written;
    }
    return rc;
}

int ah_link_get_ended(const void *packet, size_t len, struct ah_link_ended *ret_ended)
{
    struct reader r = open_packet(packet, len, AH_LINK_ENDED);
    struct ah_link_ended ended = {.task = get_u64(&r)};
    ended.status = get_u32(&r);
    ended.code = (int32_t)get_u32(&r);
    ended.signal = (int32_t)get_u32(&r);
    ended.run_ns = (int64_t)get_u64(&r);
    ended.reason = get_text(&r);
    int rc = end_packet(&r);
    if (rc == 0 && !ah_task_status_is_end(ended.status)) {
        rc = -EBADMSG;
    }
    if (rc == 0) {
        *ret_ended = ended;
    }
    return rc;
}

void ah_link_spawn_clear(struct ah_link_spawn *spawn)
{
    free(spawn->argv);
    free(spawn->env);
    spawn->argv = NULL;
    spawn->env = NULL;
}
