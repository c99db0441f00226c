#include "queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct list { /* by sequence number */
    struct ah_notice *first;
    struct ah_notice **end; /* where the next one is hung in */
    uint64_t last;          /* sequence number of the last one, when there is one */
    size_t count;
};

struct ah_queue {
    struct ah_wake *wake;
    uint64_t id;
    pthread_mutex_t lock; /* protects all below */
    unsigned refs;
    uint64_t last_seq;
    struct list pending;
    struct list in_flight;
};

static void list_init(struct list *list)
{
    *list = (struct list){.end = &list->first};
}

/* Nearly always behind the last one; but a withdrawn one may be younger than what comes later. */
static void list_insert(struct list *list, struct ah_notice *notice)
{
    struct ah_notice **at = list->count > 0 && list->last < notice->seq ? list->end : &list->first;
    while (*at != NULL && (*at)->seq < notice->seq) {
        at = &(*at)->next;
    }
    notice->next = *at;
    *at = notice;
    if (notice->next == NULL) {
        list->end = &notice->next;
        list->last = notice->seq;
    }
    list->count++;
}

static struct ah_notice *list_take_first(struct list *list)
{
    struct ah_notice *notice = list->first;
    list->first = notice->next;
    if (list->first == NULL) {
        list->end = &list->first;
    }
    list->count--;
    return notice;
}

/* Moves all of `from` into the empty list `to`. */
static void list_move(struct list *to, struct list *from)
{
    if (from->count > 0) {
        *to = *from;
    }
    list_init(from);
}

static void list_clear(struct list *list)
{
    while (list->count > 0) {
        ah_notice_free(list_take_first(list));
    }
}

int ah_queue_new(struct ah_wake *wake, struct ah_queue **ret_queue)
{
    struct ah_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL) {
        return -ENOMEM;
    }
    queue->wake = wake;
    queue->id = ah_wake_new_id(wake);
    queue->refs = 1;
    list_init(&queue->pending);
    list_init(&queue->in_flight);
    pthread_mutex_init(&queue->lock, NULL);
    *ret_queue = queue;
    return 0;
}

struct ah_queue *ah_queue_ref(struct ah_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->refs++;
    pthread_mutex_unlock(&queue->lock);
    return queue;
}

void ah_queue_unref(struct ah_queue *queue)
{
    if (queue == NULL) {
        return;
    }
    pthread_mutex_lock(&queue->lock);
    unsigned left = --queue->refs;
    pthread_mutex_unlock(&queue->lock);
    if (left == 0) {
        list_clear(&queue->pending);
        list_clear(&queue->in_flight);
        pthread_mutex_destroy(&queue->lock);
        free(queue);
    }
}

uint64_t ah_queue_id(const struct ah_queue *queue)
{
    return queue->id;
}

uint64_t ah_queue_push(struct ah_queue *queue, struct ah_notice *notice)
{
    pthread_mutex_lock(&queue->lock);
    uint64_t seq = ++queue->last_seq;
    notice->seq = seq;
    list_insert(&queue->pending, notice);
    pthread_mutex_unlock(&queue->lock);
    ah_wake_post(queue->wake, queue->id);
    return seq;
}

size_t ah_queue_count(struct ah_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    size_t count = queue->pending.count;
    pthread_mutex_unlock(&queue->lock);
    return count;
}

size_t ah_queue_drain(struct ah_queue *queue, const struct ah_notice **ret_notices, size_t cap)
{
    pthread_mutex_lock(&queue->lock);
    size_t n = 0;
    while (n < cap && queue->pending.count > 0) {
        struct ah_notice *notice = list_take_first(&queue->pending);
        list_insert(&queue->in_flight, notice);
        ret_notices[n++] = notice;
    }
    pthread_mutex_unlock(&queue->lock);
    return n;
}

struct ah_notice *ah_queue_ack(struct ah_queue *queue, uint64_t seq)
{
    struct list done;
    struct list left;
    list_init(&done);
    list_init(&left);
    pthread_mutex_lock(&queue->lock);
    while (queue->in_flight.count > 0) {
        struct ah_notice *notice = list_take_first(&queue->in_flight);
        list_insert(notice->seq <= seq ? &done : &left, notice);
    }
    list_move(&queue->in_flight, &left);
    pthread_mutex_unlock(&queue->lock);
    return done.first;
}

size_t ah_queue_in_flight(struct ah_queue *queue, uint64_t after,
                          const struct ah_notice **ret_notices, size_t cap)
{
    pthread_mutex_lock(&queue->lock);
    size_t n = 0;
    for (struct ah_notice *at = queue->in_flight.first; at != NULL && n < cap; at = at->next) {
        if (at->seq > after) {
            ret_notices[n++] = at;
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return n;
}

size_t ah_queue_requeue(struct ah_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    size_t count = queue->in_flight.count;
    struct list all;
    list_init(&all);
    while (queue->in_flight.count + queue->pending.count > 0) {
        bool back =
            queue->pending.count == 0 ||
            (queue->in_flight.count > 0 && queue->in_flight.first->seq < queue->pending.first->seq);
        list_insert(&all, list_take_first(back ? &queue->in_flight : &queue->pending));
    }
    list_move(&queue->pending, &all);
    pthread_mutex_unlock(&queue->lock);
    if (count > 0) {
        ah_wake_post(queue->wake, queue->id);
    }
    return count;
}

bool ah_queue_withdraw(struct ah_queue *queue, uint64_t seq)
{
    bool found = false;
    struct list rest;
    list_init(&rest);
    pthread_mutex_lock(&queue->lock);
    while (queue->pending.count > 0) {
        struct ah_notice *notice = list_take_first(&queue->pending);
        bool wanted = notice->seq == seq;
        list_insert(wanted ? &queue->in_flight : &rest, notice);
        found = found || wanted;
    }
    list_move(&queue->pending, &rest);
    pthread_mutex_unlock(&queue->lock);
    return found;
}
