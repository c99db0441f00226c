#include "queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct list {
    struct ah_notice *first;
    struct ah_notice **end; /* where the next one is hung in */
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

static void list_append(struct list *list, struct ah_notice *notice)
{
    notice->next = NULL;
    *list->end = notice;
    list->end = &notice->next;
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

/* Moves all of `from` behind `to`. */
static void list_join(struct list *to, struct list *from)
{
    if (from->count > 0) {
        *to->end = from->first;
        to->end = from->end;
        to->count += from->count;
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
    list_append(&queue->pending, notice);
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
        list_append(&queue->in_flight, notice);
        ret_notices[n++] = notice;
    }
    pthread_mutex_unlock(&queue->lock);
    return n;
}

size_t ah_queue_ack(struct ah_queue *queue, uint64_t seq)
{
    struct list done;
    list_init(&done);
    pthread_mutex_lock(&queue->lock);
    while (queue->in_flight.count > 0 && queue->in_flight.first->seq <= seq) {
        list_append(&done, list_take_first(&queue->in_flight));
    }
    pthread_mutex_unlock(&queue->lock);
    size_t count = done.count;
    list_clear(&done);
    return count;
}

size_t ah_queue_requeue(struct ah_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    size_t count = queue->in_flight.count;
    struct list all;
    list_init(&all);
    list_join(&all, &queue->in_flight);
    list_join(&all, &queue->pending);
    list_join(&queue->pending, &all);
    pthread_mutex_unlock(&queue->lock);
    if (count > 0) {
        ah_wake_post(queue->wake, queue->id);
    }
    return count;
}

bool ah_queue_remove(struct ah_queue *queue, uint64_t seq)
{
    struct ah_notice *found = NULL;
    pthread_mutex_lock(&queue->lock);
    for (struct ah_notice **at = &queue->pending.first; *at != NULL; at = &(*at)->next) {
        if ((*at)->seq == seq) {
            found = *at;
            *at = found->next;
            if (queue->pending.end == &found->next) {
                queue->pending.end = at;
            }
            queue->pending.count--;
            break;
        }
    }
    pthread_mutex_unlock(&queue->lock);
    ah_notice_free(found);
    return found != NULL;
}
