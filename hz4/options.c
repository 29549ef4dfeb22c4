#include "hz4/options.h"

#include <string.h>

struct option {
  const char *name;
  uint64_t initial, least, greatest;
  const char *meaning;
  uint64_t *value;
};

#define HZ4_OPTION_INITIAL(field, name, initial, least, greatest, meaning) .field = initial,
struct hz4_option_values hz4_option = {HZ4_OPTION_TABLE(HZ4_OPTION_INITIAL)};

#define HZ4_OPTION_ROW(field, name, initial, least, greatest, meaning) \
  {name, initial, least, greatest, meaning, &hz4_option.field},
static const struct option table[] = {HZ4_OPTION_TABLE(HZ4_OPTION_ROW)};

#define OPTION_COUNT (sizeof(table) / sizeof(table[0]))
#define PREFIX "HZ4_"

static bool parse_number(const char *text, uint64_t *out) {
  uint64_t value = 0;
  if (*text == '\0') return false;
  for (; *text != '\0'; ++text) {
    if (*text < '0' || *text > '9') return false;
    unsigned digit = (unsigned)(*text - '0');
    if (value > (UINT64_MAX - digit) / 10) return false;
    value = value * 10 + digit;
  }
  *out = value;
  return true;
}

// A number, or the word for one.
static bool parse_value(const struct option *option, const char *text, uint64_t *out) {
  static const char *const fronts[] = {[HZ4_FRONT_CPU] = "cpu", [HZ4_FRONT_THREAD] = "thread"};
  for (uint64_t i = 0; option->value == &hz4_option.front && i < sizeof(fronts) / sizeof(fronts[0]); ++i) {
    if (strcmp(text, fronts[i]) != 0) continue;
    *out = i;
    return true;
  }
  return parse_number(text, out);
}

static const struct option *find(const char *name, size_t length) {
  for (size_t i = 0; i < OPTION_COUNT; ++i) {
    if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0) return &table[i];
  }
  return NULL;
}

void hz4_options_parse(char *const *environment, void (*warn)(const char *what, const char *detail)) {
  for (; environment != NULL && *environment != NULL; ++environment) {
    const char *entry = *environment;
    if (*entry != *PREFIX || strncmp(entry, PREFIX, strlen(PREFIX)) != 0) continue;
    const char *equals = strchr(entry, '=');
    const struct option *option = equals == NULL ? NULL : find(entry, (size_t)(equals - entry));
    uint64_t value;
    if (option == NULL) {
      warn("unknown option, ignored: ", entry);
    } else if (!parse_value(option, equals + 1, &value) || value < option->least || value > option->greatest) {
      warn("not a number in the option's range, ignored: ", entry);
    } else {
      *option->value = value;
    }
  }
}

static void write_number(void (*write)(void *context, const char *text), void *context, uint64_t number) {
  char digits[21];
  char *start = digits + sizeof(digits) - 1;
  *start = '\0';
  do {
    *--start = (char)('0' + number % 10);
    number /= 10;
  } while (number != 0);
  write(context, start);
}

void hz4_options_list(void (*write)(void *context, const char *text), void *context) {
  for (size_t i = 0; i < OPTION_COUNT; ++i) {
    write(context, table[i].name);
    write(context, " (");
    write_number(write, context, table[i].least);
    write(context, "..");
    write_number(write, context, table[i].greatest);
    write(context, ", default ");
    write_number(write, context, table[i].initial);
    write(context, "): ");
    write(context, table[i].meaning);
    write(context, "\n");
  }
}
