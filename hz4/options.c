#include "hz4/options.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

struct option {
  const char *name;
  uint64_t initial, least, greatest;
  const char *meaning;
  uint64_t *number;  // NULL: it is text
  char *text;
};

#define HZ4_OPTION_INITIAL(field, name, initial, least, greatest, meaning) .field = initial,
HZ4_BEHIND_DATA struct hz4_option_values hz4_option = {HZ4_OPTION_TABLE(HZ4_OPTION_INITIAL)};

HZ4_IN_DATA bool hz4_options_are_read;

#define HZ4_OPTION_ROW(field, name, initial, least, greatest, meaning) \
  {name, initial, least, greatest, meaning, &hz4_option.field, NULL},
#define HZ4_OPTION_TEXT_ROW(field, name, meaning) {name, 0, 0, 0, meaning, NULL, hz4_option.field},
static const struct option table[] = {HZ4_OPTION_TABLE(HZ4_OPTION_ROW) HZ4_OPTION_TEXT_TABLE(HZ4_OPTION_TEXT_ROW)};

#define HZ4_OPTION_WORD(field, word, number) {&hz4_option.field, word, number},
static const struct {
  const uint64_t *option;
  const char *word;
  uint64_t number;
} words[] = {HZ4_OPTION_WORDS(HZ4_OPTION_WORD)};

#define HZ4_OPTION_ADDRESS(field) &hz4_option.field,
static const uint64_t *const later[] = {HZ4_OPTION_LATER(HZ4_OPTION_ADDRESS)};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PREFIX "HZ4_"

// ---- numbers ----

// Digits only, at least one. Returns where they end, or NULL.
static const char *parse_digits(const char *text, uint64_t *out) {
  const char *start = text;
  uint64_t value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) {
    unsigned digit = (unsigned)(*text - '0');
    if (value > (UINT64_MAX - digit) / 10) return NULL;
    value = value * 10 + digit;
  }
  *out = value;
  return text != start ? text : NULL;
}

// The power of two that a suffix stands for, and where it ends; 0: there is none.
static unsigned parse_suffix(const char **text) {
  static const char letters[] = "KMGT";
  const char *letter = **text != '\0' ? strchr(letters, **text) : NULL;
  if (letter == NULL) return 0;
  *text += strncmp(*text + 1, "iB", 2) == 0 ? 3 : 1;
  return 10 * (unsigned)(letter - letters + 1);
}

// A number of units of 2^unit bytes, or a size with a suffix.
static const char *parse_size(const char *text, unsigned unit, uint64_t *out) {
  uint64_t value;
  text = parse_digits(text, &value);
  if (text == NULL) return NULL;
  unsigned shift = parse_suffix(&text);
  if (shift != 0) shift -= unit;
  if (value > UINT64_MAX >> shift) return NULL;
  *out = value << shift;
  return text;
}

const char *hz4_options_parse_bytes(const char *text, uint64_t *bytes) {
  return parse_size(text, 0, bytes);
}

static bool parse_word(const struct option *option, const char *text, uint64_t *out) {
  bool has_own = false;
  for (size_t i = 0; i < COUNT(words); ++i) {
    if (words[i].option != option->number) continue;
    has_own = true;
    *out = words[i].number;
    if (strcmp(text, words[i].word) == 0) return true;
  }
  if (has_own || option->greatest != 1) return false;
  *out = strcmp(text, "yes") == 0 || strcmp(text, "on") == 0 || strcmp(text, "true") == 0;
  return *out != 0 || strcmp(text, "no") == 0 || strcmp(text, "off") == 0 || strcmp(text, "false") == 0;
}

static bool is_size(const struct option *option) {
  return hz4_ends_in(option->name, "_KIB") || hz4_ends_in(option->name, "_BYTES");
}

static bool parse_number(const struct option *option, const char *text, uint64_t *out) {
  if (parse_word(option, text, out)) return true;
  unsigned unit = hz4_ends_in(option->name, "_KIB") ? 10 : 0;
  const char *end = is_size(option) ? parse_size(text, unit, out) : parse_digits(text, out);
  return end != NULL && *end == '\0' && *out >= option->least && *out <= option->greatest;
}

// ---- setting ----

static const struct option *find(const char *name, size_t length) {
  for (size_t i = 0; i < COUNT(table); ++i) {
    if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0) return &table[i];
  }
  return NULL;
}

// Copied, for a program may change its environment.
static bool set(const struct option *option, const char *value) {
  uint64_t number;
  if (option->number == NULL) {
    if (strlen(value) >= HZ4_OPTION_TEXT_BYTES) return false;
    memcpy(option->text, value, strlen(value) + 1);
    return true;
  }
  if (!parse_number(option, value, &number)) return false;
  hz4_option_change(option->number, number);
  return true;
}

static void warn_of_value(const struct option *option, const char *entry, void (*warn)(const char *, const char *)) {
  HZ4_WRITER(w, 128, -1);
  hz4_put(&w, "ignored, for it takes %lu..%lu", option->least, option->greatest);
  for (size_t i = 0; i < COUNT(words); ++i) {
    if (words[i].option == option->number) hz4_put(&w, ", %s", words[i].word);
  }
  hz4_put(&w, is_size(option) ? ", or a size as 64M: " : ": ");
  hz4_put_bytes(&w, "", 1);
  warn(w_buffer, entry);
}

static void parse_entry(const char *entry, void (*warn)(const char *what, const char *detail)) {
  if (strncmp(entry, PREFIX, strlen(PREFIX)) != 0) return;
  const char *equals = strchr(entry, '=');
  const struct option *option = equals == NULL ? NULL : find(entry, (size_t)(equals - entry));
  if (option == NULL) warn("unknown option, ignored: ", entry);
  else if (set(option, equals + 1)) return;
  else if (option->number == NULL) warn("longer than an option may be, ignored: ", entry);
  else warn_of_value(option, entry, warn);
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n';
}

// Cut into entries. One that does not begin with HZ4_ is a slip here.
static void parse_own(const char *own, void (*warn)(const char *what, const char *detail)) {
  char entry[HZ4_OPTION_TEXT_BYTES + 64];
  while (*own != '\0') {
    size_t length = 0;
    for (; *own != '\0' && !is_blank(*own); ++own) {
      if (length < sizeof(entry) - 1) entry[length++] = *own;
    }
    entry[length] = '\0';
    if (length != 0 && strncmp(entry, PREFIX, strlen(PREFIX)) != 0) warn("unknown option, ignored: ", entry);
    parse_entry(entry, warn);
    if (*own != '\0') ++own;
  }
}

void hz4_options_parse(const char *own, char *const *environment, void (*warn)(const char *what, const char *detail)) {
  hz4_options_are_read = true;
  if (own != NULL) parse_own(own, warn);
  for (; environment != NULL && *environment != NULL; ++environment) parse_entry(*environment, warn);
}

extern const char *hz4_options __attribute__((weak, visibility("default")));

const char *hz4_options_of_program(void) {
  return &hz4_options != NULL ? hz4_options : NULL;
}

int hz4_options_set(const char *name, const char *value) {
  const struct option *option = find(name, strlen(name));
  uint64_t number = 0;
  if (option == NULL) return ENOENT;
  bool holds = option->number != NULL ? parse_number(option, value, &number) : strlen(value) < HZ4_OPTION_TEXT_BYTES;
  if (!holds) return EINVAL;
  for (size_t i = 0; i < COUNT(later); ++i) {
    if (later[i] != option->number) continue;
    hz4_option_change(option->number, number);
    return 0;
  }
  return EPERM;
}

// ---- as text ----

static void put_value(const struct option *option, struct hz4_writer *w) {
  if (option->number == NULL) hz4_put(w, "%s", option->text);
  else hz4_put(w, "%lu", hz4_option_now(option->number));
}

bool hz4_options_put(const char *name, struct hz4_writer *w) {
  const struct option *option = find(name, strlen(name));
  if (option != NULL) put_value(option, w);
  return option != NULL;
}

void hz4_options_put_table(struct hz4_writer *w) {
  for (size_t i = 0; i < COUNT(table); ++i) {
    const struct option *option = &table[i];
    hz4_put(w, "%s (", option->name);
    if (option->number == NULL) hz4_put(w, "text");
    else hz4_put(w, "%lu..%lu, default %lu", option->least, option->greatest, option->initial);
    hz4_put(w, "): %s\n", option->meaning);
  }
}

void hz4_options_put_changed(struct hz4_writer *w) {
  for (size_t i = 0; i < COUNT(table); ++i) {
    const struct option *option = &table[i];
    if (option->number == NULL ? *option->text == '\0' : hz4_option_now(option->number) == option->initial) continue;
    hz4_put(w, " %s=", option->name);
    put_value(option, w);
  }
}
