// Rank 0. Circular lists through members: the head is the oldest item, head->links.prev the newest; NULL is no item. An
// item that is on no list has NULL links.
#ifndef HZ4_LIST_H_
#define HZ4_LIST_H_

#define HZ4_LIST_ADD(head, item, next, prev)     \
  do {                                           \
    if ((head) == NULL) {                        \
      (head) = (item)->next = (item)->prev = (item); \
    } else {                                     \
      (item)->next = (head);                     \
      (item)->prev = (head)->prev;               \
      (head)->prev->next = (item);               \
      (head)->prev = (item);                     \
    }                                            \
  } while (0)

#define HZ4_LIST_REMOVE(head, item, next, prev)      \
  do {                                               \
    if ((item)->next == (item)) {                    \
      (head) = NULL;                                 \
    } else {                                         \
      (item)->next->prev = (item)->prev;             \
      (item)->prev->next = (item)->next;             \
      if ((head) == (item)) (head) = (item)->next;   \
    }                                                \
    (item)->next = (item)->prev = NULL;              \
  } while (0)

#endif  // HZ4_LIST_H_
