// What a document of statistics says, by the names of docs/statistics.md.
#ifndef HZ4_CMD_FIGURES_H_
#define HZ4_CMD_FIGURES_H_

#include "cmd/json.h"

// Where hz4's memory is, in bytes that may be resident.
enum part { PART_LIVE, PART_CACHES, PART_FRAGMENTS, PART_DEPOTS, PART_PAGES, PART_LARGE, PART_META, PARTS };

struct figures {
  struct json json;
  double parts[PARTS];
  double sum;       // of the parts
  double resident;  // of the whole process; 0: not known
};

enum { FIGURES_WHY = 128 };

// Reads a document at the beginning of a text. *at: where it ended. False, with a reason in words: there is none of hz4's.
bool figures_read(const char *text, struct figures *figures, size_t *at, char *why);
void figures_free(struct figures *figures);

double figures_number(const struct figures *figures, const char *name);

const char *figures_part_name(enum part part);

// A line for each part, and what they come to.
void figures_print(const struct figures *figures);

#endif  // HZ4_CMD_FIGURES_H_
