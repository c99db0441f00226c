/*
 * The notification queue: carries notices from any thread to the main thread.
 *
 * Life of a notice: pushed (pending) -> drained (in flight) -> acknowledged (gone). Draining does
 * not forget: until it is acknowledged a notice can be put back, so that one that was drained for a
 * message which never came to be is delivered with the next. Every notice has a sequence number,
 * rising by one from 1.
 *
 * Thread-safe, reference-counted: whoever may push holds a reference. The lock is a leaf.
 */
#pragma once

#include "notice.h"
#include "wake.h"

struct ah_queue;

/* With one reference. `wake` has to outlive the queue's last push. */
int ah_queue_new(struct ah_wake *wake, struct ah_queue **ret_queue);
struct ah_queue *ah_queue_ref(struct ah_queue *queue);
void ah_queue_unref(struct ah_queue *queue); /* NULL is allowed */

/* The id that is posted to `wake` at each push. */
uint64_t ah_queue_id(const struct ah_queue *queue);

/* Moves notice into the queue and returns its sequence number. Never fails: the end of a task has
 * to get in. Whoever pushes at another's will (a plugin, a monitored command) sets a bound itself.
 */
uint64_t ah_queue_push(struct ah_queue *queue, struct ah_notice *notice);

/* How many are pending. */
size_t ah_queue_count(struct ah_queue *queue);

/* Takes up to `cap` pending notices into flight, oldest first, and gives borrowed pointers that
 * stay valid until they are acknowledged or put back. Main thread only, like the next three. */
size_t ah_queue_drain(struct ah_queue *queue, const struct ah_notice **ret_notices, size_t cap);

/* Takes the notices in flight with a sequence number up to and including seq out of the queue: what
 * was told is now on disk. Gives them as a list (by `next`; NULL: none) that the caller frees. */
struct ah_notice *ah_queue_ack(struct ah_queue *queue, uint64_t seq);

/* Gives up to `cap` of the notices in flight, those with a sequence number above `after`, oldest
 * first: borrowed, as from ah_queue_drain. Main thread only. */
size_t ah_queue_in_flight(struct ah_queue *queue, uint64_t after,
                          const struct ah_notice **ret_notices, size_t cap);

/* Puts all that are in flight back, in their old order and before the pending ones. */
size_t ah_queue_requeue(struct ah_queue *queue);

/* Moves one pending notice into flight, for whoever it is meant is being told by other means. False
 * when it is not pending (in flight, acknowledged or never pushed). Any thread. */
bool ah_queue_withdraw(struct ah_queue *queue, uint64_t seq);
