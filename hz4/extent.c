#include "hz4/extent.h"

#include "hz4/list.h"

// How many ranges of the wanted size's own list are tried.
#define TRIES 8

// ---- by size ----

// The list of ranges of `bytes`: sizes up to 7 pages have their own, then come 8 for each doubling.
static unsigned list_of(size_t bytes) {
  size_t pages = bytes >> HZ4_PAGE_SHIFT;
  if (pages < 8) return (unsigned)pages;
  unsigned shift = (unsigned)(63 - __builtin_clzll(pages)) - 3;
  unsigned list = (shift + 1) * 8 + (unsigned)(pages >> shift & 7);
  return list < HZ4_EXTENT_LISTS ? list : HZ4_EXTENT_LISTS - 1;
}

static void list_add(struct hz4_extents *book, struct hz4_extent *extent) {
  unsigned list = list_of(extent->bytes);
  HZ4_LIST_ADD(book->by_size[extent->state][list], extent, next, prev);
  book->filled[extent->state][list / 64] |= (uint64_t)1 << list % 64;
  book->bytes[extent->state] += extent->bytes;
}

static void list_remove(struct hz4_extents *book, struct hz4_extent *extent) {
  unsigned list = list_of(extent->bytes);
  HZ4_LIST_REMOVE(book->by_size[extent->state][list], extent, next, prev);
  if (book->by_size[extent->state][list] == NULL) {
    book->filled[extent->state][list / 64] &= ~((uint64_t)1 << list % 64);
  }
  book->bytes[extent->state] -= extent->bytes;
}

// The first list from this one on that is not empty; HZ4_EXTENT_LISTS: all are.
static unsigned filled_from(const uint64_t *filled, unsigned list) {
  while (list < HZ4_EXTENT_LISTS) {
    uint64_t rest = filled[list / 64] >> list % 64;
    if (rest != 0) return list + (unsigned)__builtin_ctzll(rest);
    list = (list / 64 + 1) * 64;
  }
  return HZ4_EXTENT_LISTS;
}

static bool fits(const struct hz4_extent *extent, size_t bytes, size_t align) {
  size_t lead = (size_t)(hz4_round_up((uintptr_t)extent->base, align) - (uintptr_t)extent->base);
  return extent->bytes >= bytes && extent->bytes - bytes >= lead;
}

struct hz4_extent *hz4_extents_find(const struct hz4_extents *book, enum hz4_extent_state state, size_t bytes,
                                    size_t align) {
  for (unsigned list = list_of(bytes); (list = filled_from(book->filled[state], list)) < HZ4_EXTENT_LISTS; ++list) {
    struct hz4_extent *newest = book->by_size[state][list]->prev, *extent = newest;
    for (int i = 0; i < TRIES; ++i) {
      if (fits(extent, bytes, align)) return extent;
      extent = extent->prev;
      if (extent == newest) break;
    }
  }
  return NULL;
}

// ---- by address ----

static void tree_insert(struct hz4_extents *book, struct hz4_extent *extent) {
  book->random = book->random * 1664525 + 1013904223;  // Numerical Recipes' generator: its high bits decide
  extent->priority = book->random;
  struct hz4_extent **link = &book->root;
  while (*link != NULL && (*link)->priority >= extent->priority) {
    link = extent->base < (*link)->base ? &(*link)->left : &(*link)->right;
  }
  // What was there is split by address.
  struct hz4_extent *rest = *link, **left = &extent->left, **right = &extent->right;
  *link = extent;
  while (rest != NULL) {
    if (rest->base < extent->base) {
      *left = rest;
      left = &rest->right;
      rest = rest->right;
    } else {
      *right = rest;
      right = &rest->left;
      rest = rest->left;
    }
  }
  *left = *right = NULL;
}

static void tree_remove(struct hz4_extents *book, struct hz4_extent *extent) {
  struct hz4_extent **link = &book->root;
  while (*link != extent) link = extent->base < (*link)->base ? &(*link)->left : &(*link)->right;
  struct hz4_extent *left = extent->left, *right = extent->right;
  while (left != NULL && right != NULL) {
    if (left->priority >= right->priority) {
      *link = left;
      link = &left->right;
      left = left->right;
    } else {
      *link = right;
      link = &right->left;
      right = right->left;
    }
  }
  *link = left != NULL ? left : right;
}

// The ranges before and after this address. NULL: none.
static void neighbours(const struct hz4_extents *book, const char *base, struct hz4_extent **before,
                       struct hz4_extent **after) {
  *before = *after = NULL;
  for (struct hz4_extent *extent = book->root; extent != NULL;) {
    if (extent->base < base) {
      *before = extent;
      extent = extent->right;
    } else {
      *after = extent;
      extent = extent->left;
    }
  }
}

struct hz4_extent *hz4_extents_at(const struct hz4_extents *book, const char *base) {
  struct hz4_extent *before, *after;
  neighbours(book, base, &before, &after);
  return after != NULL && after->base == base ? after : NULL;
}

// ---- both ----

static bool joins(const struct hz4_extent *left, const struct hz4_extent *right) {
  return left != NULL && right != NULL && left->base + left->bytes == right->base && left->state == right->state &&
         left->island == right->island;
}

static void unlist(struct hz4_extents *book, struct hz4_extent *extent) {
  list_remove(book, extent);
  HZ4_LIST_REMOVE(book->by_age[extent->state], extent, newer, older);
}

struct hz4_extent *hz4_extents_put(struct hz4_extents *book, struct hz4_extent *extent) {
  struct hz4_extent *before, *after, *spare = NULL;
  neighbours(book, extent->base, &before, &after);
  if (joins(before, extent)) {
    unlist(book, before);
    before->bytes += extent->bytes;
    extent->next = spare;
    spare = extent;
    extent = before;
  } else {
    tree_insert(book, extent);
  }
  if (joins(extent, after)) {
    unlist(book, after);
    tree_remove(book, after);
    extent->bytes += after->bytes;
    after->next = spare;
    spare = after;
  }
  list_add(book, extent);
  HZ4_LIST_ADD(book->by_age[extent->state], extent, newer, older);
  return spare;
}

void hz4_extents_remove(struct hz4_extents *book, struct hz4_extent *extent) {
  unlist(book, extent);
  tree_remove(book, extent);
}

static char *cut(struct hz4_extents *book, struct hz4_extent *extent, size_t bytes, size_t from) {
  char *base = extent->base + from;
  if (bytes == extent->bytes) {
    hz4_extents_remove(book, extent);
  } else {
    list_remove(book, extent);
    if (from == 0) extent->base += bytes;  // it stays between the same neighbours
    extent->bytes -= bytes;
    list_add(book, extent);
  }
  return base;
}

char *hz4_extents_cut(struct hz4_extents *book, struct hz4_extent *extent, size_t bytes) {
  return cut(book, extent, bytes, 0);
}

char *hz4_extents_cut_end(struct hz4_extents *book, struct hz4_extent *extent, size_t bytes) {
  return cut(book, extent, bytes, extent->bytes - bytes);
}

// Goes from each range to the next by a search: recursion's stack would have no bound. A range at a wrong place hides
// itself or another from the search, so that fewer than the `listed` bytes are found.
static const char *broken_tree(const struct hz4_extents *book, size_t listed) {
  struct hz4_extent *last = NULL, *before, *extent;
  size_t bytes = 0;
  for (;; last = extent) {
    neighbours(book, last != NULL ? last->base + 1 : NULL, &before, &extent);
    if (extent == NULL) break;
    HZ4_HOLDS(last == NULL || last->base + last->bytes <= extent->base, "extent: ranges overlap");
    HZ4_HOLDS(!joins(last, extent), "extent: neighbours are apart");
    HZ4_HOLDS(extent->left == NULL || extent->left->priority <= extent->priority, "extent: broken tree");
    HZ4_HOLDS(extent->right == NULL || extent->right->priority <= extent->priority, "extent: broken tree");
    bytes += extent->bytes;
  }
  HZ4_HOLDS(bytes == listed, "extent: the tree has other ranges than the lists");
  return NULL;
}

const char *hz4_extents_broken(const struct hz4_extents *book) {
  size_t listed = 0;
  for (int state = 0; state < HZ4_EXTENT_STATES; ++state) {
    size_t bytes = 0, aged = 0;
    for (unsigned list = 0; list < HZ4_EXTENT_LISTS; ++list) {
      const struct hz4_extent *head = book->by_size[state][list], *extent = head;
      HZ4_HOLDS((head != NULL) == (book->filled[state][list / 64] >> list % 64 & 1), "extent: a list's bit is wrong");
      for (bool more = head != NULL; more; more = (extent = extent->next) != head) {
        HZ4_HOLDS(extent->state == state && list_of(extent->bytes) == list, "extent: on a wrong list");
        bytes += extent->bytes;
      }
    }
    const struct hz4_extent *head = book->by_age[state], *extent = head;
    for (bool more = head != NULL; more; more = (extent = extent->newer) != head) aged += extent->bytes;
    HZ4_HOLDS(bytes == book->bytes[state] && aged == bytes, "extent: bytes do not add up");
    listed += bytes;
  }
  return broken_tree(book, listed);
}
