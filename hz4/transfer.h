// Rank 7. What leaves the caches: in batches to the inbox of the cache whose spans the objects are from, if they are small,
// a sample of them agrees on one, and its inbox is not full; to Mid otherwise; while fork is on, to a place where they wait.
//
// Any thread may call any of these, at a cache or not, unless it says otherwise.
#ifndef HZ4_TRANSFER_H_
#define HZ4_TRANSFER_H_

#include "hz4/base.h"
#include "hz4/bin.h"

HZ4_BEGIN_DECLS

// Gives objects to Mid, and with them what has waited for the end of a fork. declines (or NULL): the class's count of declines as
// the caller knows it, which is brought up to date; true when that has changed. purge: HZ4_PURGE_BYTES of free pages, and as much
// inside spans, go back to the system if it is time; a call of malloc or free says so once. Afterwards `objects` holds nothing
// of use; so also below.
bool hz4_transfer_give(uint32_t size_class, void **objects, uint32_t count, uint8_t *declines, bool purge);

// Gives what has left a bin to its owner, or to Mid. True when the class has declined: then nothing of it waits in any inbox.
// pre: attached.
bool hz4_transfer_send(uint32_t size_class, void **objects, uint32_t count, uint8_t *declines, bool purge);

// Counts what a refill or a flush did at other shards.
struct hz4_mid_result;
void hz4_transfer_count_away(uint32_t size_class, const struct hz4_mid_result *result);

// What depots have goes home, also to other shards; nothing where there is one.
void hz4_transfer_drain(uint32_t size_class);

// Gives all of a chain of batches to Mid; the cache keeps a few of them, empty.
void hz4_transfer_give_batches(struct hz4_tcache *cache, uint32_t size_class, struct hz4_batch *batch);

// What waits in inboxes of caches that may not come to empty them, of a few only, of others each time. NULL: nothing there.
struct hz4_batch *hz4_transfer_steal(uint32_t size_class);

// Gives all that waits in the cache's inboxes to Mid. close: nothing can arrive after, until they are opened.
void hz4_transfer_empty(struct hz4_tcache *cache, bool close);
void hz4_transfer_open(struct hz4_tcache *cache);

// Objects that wait for the end of a fork.
uint64_t hz4_transfer_waiting(uint32_t size_class);

// After fork, in both: gives what waited for its end to Mid.
void hz4_transfer_settle(void);

HZ4_END_DECLS

#endif  // HZ4_TRANSFER_H_
