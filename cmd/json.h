// The numbers and texts of a JSON document, each by its path: {"a": {"b": [7]}} has "a.b.0", which is 7.
#ifndef HZ4_CMD_JSON_H_
#define HZ4_CMD_JSON_H_

#include <stdbool.h>
#include <stddef.h>

struct json_value {
  char *path;
  double number;  // of true 1, of false and null 0
  char *text;     // NULL: it is none
};

struct json {
  struct json_value *values;
  size_t count, room;
};

// Reads one document. *at: where it ended, or (false) went wrong, in bytes from the start; blanks behind it are read too.
bool json_read(const char *text, struct json *json, size_t *at);
void json_free(struct json *json);

// `otherwise`: there is none of that path.
double json_number(const struct json *json, const char *path, double otherwise);
const char *json_text(const struct json *json, const char *path, const char *otherwise);

#endif  // HZ4_CMD_JSON_H_
