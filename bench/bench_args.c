// Arguments of the benchmarks: positional numbers, named options, [BENCH_ARGS].
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/bench_common.h"
#include "bench/bench_malloc.h"

const char *const bench_touch_names[] = {"none", "first", "all"};

static const struct {
  const char *name;
  uint64_t min, max;
} lanes[] = {{"guard", 16, 2048}, {"main", 16, 32768}, {"cross128", 16, 131072}};

static struct bench_arg *find_arg(struct bench_tool *tool, const char *name) {
  for (size_t i = 0; i < tool->args_count; i++)
    if (strcmp(tool->args[i].name, name) == 0) return &tool->args[i];
  return NULL;
}

static uint64_t parse_number(const char *name, const char *text, uint64_t low, uint64_t high) {
  char *end;
  errno = 0;
  uint64_t value = strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0') bench_die(2, "%s: '%s' is not a number", name, text);
  if (errno == ERANGE || value < low || value > high)
    bench_die(2, "%s must be %" PRIu64 "..%" PRIu64 ", not %s", name, low, high, text);
  return value;
}

static _Noreturn void help(const struct bench_tool *tool) {
  printf("usage: %s", tool->name);
  for (size_t i = 0; i < tool->args_count; i++) printf(" [%s", tool->args[i].name);
  printf("%s", tool->takes_matched ? " [matched" : "");
  for (size_t i = 0; i < tool->args_count + tool->takes_matched; i++) printf("]");
  printf(" [options]\n\n%s\n\n", tool->about);
  for (size_t i = 0; i < tool->args_count; i++)
    printf("  %-12s %s (default %" PRIu64 ")\n", tool->args[i].name, tool->args[i].help, tool->args[i].value);
  if (tool->takes_matched)
    printf("  %-12s the sender of a full ring waits for room, instead of freeing (without positional arguments: where\n"
           "  %-12s threads are more than CPUs, and then ring_slots is 1024)\n", "matched", "");
  puts("\n  --touch none|first|all       bytes written after malloc (default first)\n"
       "  --lane guard|main|cross128   sets min and max to 16..2048, 16..32768 or 16..131072\n"
       "  --seed N                     the random numbers' seed (default 1)\n"
       "  --json FILE                  write the results as one JSON object too\n"
       "  --pin                        thread i runs on the i-th CPU, cyclically\n"
       "  --verify                     every object carries a stamp that is checked when it is freed\n"
       "  --help\n\n"
       "The first line of output names the arguments, the others are the result. cpus_delivered is CPU time over wall\n"
       "time in the timed phase, ping_pong_ns one round trip of a cache line between two threads, malloc= the library\n"
       "whose malloc was measured. The last line says whether the run counts, and what it comes to.\n"
       "Exit: 0, 1 when something failed, 2 for bad arguments.");
  exit(0);
}

// --name=value or --name value; *value stays NULL for an option without one.
static bool option_is(const char *name, bool wants_value, int argc, char **argv, int *at, const char **value) {
  const char *text = argv[*at];
  size_t length = strlen(name);
  *value = NULL;
  if (strncmp(text, name, length) != 0 || (text[length] != '\0' && text[length] != '=')) return false;
  if (text[length] == '=') *value = text + length + 1;
  if (!wants_value && *value != NULL) bench_die(2, "%s takes no value", name);
  if (wants_value && *value == NULL) {
    if (*at + 1 >= argc) bench_die(2, "%s needs a value", name);
    *value = argv[++*at];
  }
  return true;
}

static enum bench_touch parse_touch(const char *text) {
  for (int i = 0; i < 3; i++)
    if (strcmp(text, bench_touch_names[i]) == 0) return (enum bench_touch)i;
  bench_die(2, "--touch must be none, first or all, not '%s'", text);
}

static int parse_lane(const char *text) {
  for (int i = 0; i < 3; i++)
    if (strcmp(text, lanes[i].name) == 0) return i;
  bench_die(2, "--lane must be guard, main or cross128, not '%s'", text);
}

static int open_json(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) bench_die(2, "--json %s: %s", path, strerror(errno));
  return fd;
}

static void print_args(const struct bench_tool *tool) {
  const struct bench_options *options = &tool->options;
  bool seed_is_positional = false;
  printf("[BENCH_ARGS]");
  for (size_t i = 0; i < tool->args_count; i++) {
    printf(" %s=%" PRIu64, tool->args[i].name, tool->args[i].value);
    seed_is_positional |= strcmp(tool->args[i].name, "seed") == 0;
  }
  if (tool->takes_matched) printf(" matched=%d", options->matched);
  printf(" touch=%s", bench_touch_names[options->touch]);
  if (!seed_is_positional) printf(" seed=%" PRIu64, options->seed);
  printf(" pin=%d verify=%d\n", options->pin, options->verify);
}

// Where threads take turns, one fills any ring in its turn. Small rings: else the backlog in them, which grows with the
// allocator's speed, would count as its memory.
static bool fit_to_machine(struct bench_tool *tool) {
  if (find_arg(tool, "threads")->value <= bench_cpus()) return false;
  tool->options.matched = true;
  find_arg(tool, "ring_slots")->value = 1024;
  return true;
}

void bench_parse(struct bench_tool *tool, int argc, char **argv) {
  static char stdout_buffer[4096];  // stdio would malloc one
  setvbuf(stdout, stdout_buffer, _IOLBF, sizeof stdout_buffer);

  struct bench_options *options = &tool->options;
  *options = (struct bench_options){.touch = BENCH_TOUCH_FIRST, .seed = 1, .json_fd = -1};
  const char *json_path = NULL, *seed_text = NULL, *value;
  size_t positional = 0;
  int lane = -1;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
      help(tool);
    } else if (option_is("--touch", true, argc, argv, &i, &value)) {
      options->touch = parse_touch(value);
    } else if (option_is("--lane", true, argc, argv, &i, &value)) {
      lane = parse_lane(value);
    } else if (option_is("--seed", true, argc, argv, &i, &value)) {
      seed_text = value;
    } else if (option_is("--json", true, argc, argv, &i, &value)) {
      json_path = value;
    } else if (option_is("--pin", false, argc, argv, &i, &value)) {
      options->pin = true;
    } else if (option_is("--verify", false, argc, argv, &i, &value)) {
      options->verify = true;
    } else if (strncmp(argv[i], "--", 2) == 0) {
      bench_die(2, "unknown option %s", argv[i]);
    } else if (positional < tool->args_count) {
      struct bench_arg *arg = &tool->args[positional++];
      arg->value = parse_number(arg->name, argv[i], arg->low, arg->high);
    } else if (tool->takes_matched && !options->matched && strcmp(argv[i], "matched") == 0) {
      options->matched = true;
    } else {
      bench_die(2, "unexpected argument '%s'", argv[i]);
    }
  }

  struct bench_arg *min = find_arg(tool, "min"), *max = find_arg(tool, "max"), *seed = find_arg(tool, "seed");
  if (lane >= 0 && max == NULL) bench_die(2, "--lane: %s has but one size", tool->name);
  if (min == NULL) min = max = find_arg(tool, "size");
  if (lane >= 0) {
    min->value = lanes[lane].min;
    max->value = lanes[lane].max;
  }
  if (seed_text != NULL) options->seed = parse_number("--seed", seed_text, 0, UINT64_MAX);
  if (seed_text != NULL && seed != NULL) seed->value = options->seed;
  if (seed != NULL) options->seed = seed->value;
  if (min->value > max->value)
    bench_die(2, "min %" PRIu64 " is greater than max %" PRIu64, min->value, max->value);
  if (options->verify && min->value < 16)
    bench_die(2, "--verify needs %s 16 or more, not %" PRIu64, min->name, min->value);
  // Whoever preloads means to measure what he preloads.
  const char *shadowed = bench_malloc_shadowed();
  if (shadowed != NULL)
    bench_die(2, "%s cannot replace the malloc that is linked in here: preload it into %s_system", shadowed,
              tool->name);
  if (json_path != NULL) options->json_fd = open_json(json_path);
  bool fitted = tool->takes_matched && positional == 0 && fit_to_machine(tool);
  print_args(tool);
  if (fitted)
    printf("[NOTE] %" PRIu64 " threads on %u CPUs: matched, with rings of 1024 slots; else a thread's turn would fill "
           "its ring, and the run not count\n", find_arg(tool, "threads")->value, bench_cpus());
  fflush(stdout);
}
