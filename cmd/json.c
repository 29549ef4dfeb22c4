#include "cmd/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 32, PATH_MOST = 256, TEXT_MOST = 4096 };

struct reader {
  const char *at;
  struct json *json;
  char path[PATH_MOST];
  int depth;
};

static bool read_value(struct reader *reader);

static void skip_blanks(struct reader *reader) { reader->at += strspn(reader->at, " \t\r\n"); }

static bool take(struct reader *reader, const char *word) {
  skip_blanks(reader);
  size_t length = strlen(word);
  if (strncmp(reader->at, word, length) != 0) return false;
  reader->at += length;
  return true;
}

static bool add(struct reader *reader, double number, const char *text) {
  struct json *json = reader->json;
  if (json->count == json->room) {
    size_t room = json->room != 0 ? 2 * json->room : 256;
    struct json_value *values = realloc(json->values, room * sizeof *values);
    if (values == NULL) return false;
    json->values = values;
    json->room = room;
  }
  struct json_value value = {strdup(reader->path), number, text != NULL ? strdup(text) : NULL};
  if (value.path == NULL || (text != NULL && value.text == NULL)) return false;
  json->values[json->count++] = value;
  return true;
}

// Escapes of the Basic Latin page become what they mean, others a question mark.
static bool read_text(struct reader *reader, char *out, size_t size) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (!take(reader, "\"")) return false;
  for (size_t length = 0; *reader->at != '"';) {
    char c = *reader->at;
    if ((unsigned char)c < ' ' || length + 1 >= size) return false;
    ++reader->at;
    if (c == '\\') {
      const char *escape = *reader->at != '\0' ? strchr(from, *reader->at) : NULL;
      unsigned code;
      if (escape != NULL) {
        c = to[escape - from];
      } else if (*reader->at == 'u' && strspn(reader->at + 1, "0123456789abcdefABCDEF") >= 4 &&
                 sscanf(reader->at + 1, "%4x", &code) == 1) {
        c = code >= ' ' && code < 0x7f ? (char)code : '?';
        reader->at += 4;
      } else {
        return false;
      }
      ++reader->at;
    }
    out[length++] = c;
    out[length] = '\0';
  }
  ++reader->at;
  return true;
}

// The path goes on by `name` while a member or an element is read.
static bool read_below(struct reader *reader, const char *name) {
  size_t length = strlen(reader->path);
  if (length + strlen(name) + 2 > PATH_MOST) return false;
  if (length != 0) strcat(reader->path, ".");
  strcat(reader->path, name);
  bool good = read_value(reader);
  reader->path[length] = '\0';
  return good;
}

static bool read_members(struct reader *reader, const char *end, bool named) {
  if (take(reader, end)) return true;
  for (unsigned n = 0;; ++n) {
    char name[PATH_MOST] = "";
    if (named && (!read_text(reader, name, sizeof name) || !take(reader, ":"))) return false;
    if (!named) snprintf(name, sizeof name, "%u", n);
    if (!read_below(reader, name)) return false;
    if (take(reader, end)) return true;
    if (!take(reader, ",")) return false;
    skip_blanks(reader);
  }
}

static bool read_value(struct reader *reader) {
  char text[TEXT_MOST] = "", *end;
  skip_blanks(reader);
  if (*reader->at == '{' || *reader->at == '[') {
    bool named = *reader->at++ == '{';
    if (++reader->depth > DEPTH_MOST) return false;
    bool good = read_members(reader, named ? "}" : "]", named);
    --reader->depth;
    return good;
  }
  if (*reader->at == '"') return read_text(reader, text, sizeof text) && add(reader, 0, text);
  if (take(reader, "true")) return add(reader, 1, NULL);
  if (take(reader, "false") || take(reader, "null")) return add(reader, 0, NULL);
  // As JSON has them: digits first, but for a minus; and strtod reads more than those, hexadecimal for one.
  const char *digits = reader->at + (*reader->at == '-');
  if (*digits < '0' || *digits > '9' || digits[1] == 'x' || digits[1] == 'X') return false;
  double number = strtod(reader->at, &end);
  reader->at = end;
  return add(reader, number, NULL);
}

bool json_read(const char *text, struct json *json, size_t *at) {
  struct reader reader = {.at = text, .json = json};
  *json = (struct json){0};
  bool good = read_value(&reader);
  skip_blanks(&reader);
  *at = (size_t)(reader.at - text);
  if (!good) json_free(json);
  return good;
}

void json_free(struct json *json) {
  for (size_t i = 0; i < json->count; ++i) {
    free(json->values[i].path);
    free(json->values[i].text);
  }
  free(json->values);
  *json = (struct json){0};
}

static const struct json_value *find(const struct json *json, const char *path) {
  for (size_t i = 0; i < json->count; ++i)
    if (strcmp(json->values[i].path, path) == 0) return &json->values[i];
  return NULL;
}

double json_number(const struct json *json, const char *path, double otherwise) {
  const struct json_value *value = find(json, path);
  return value != NULL && value->text == NULL ? value->number : otherwise;
}

const char *json_text(const struct json *json, const char *path, const char *otherwise) {
  const struct json_value *value = find(json, path);
  return value != NULL && value->text != NULL ? value->text : otherwise;
}
