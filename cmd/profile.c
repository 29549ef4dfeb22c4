// hz4 profile: a picture of a heap profile, by a tool that draws them.
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/program.h"

static const char help[] =
    "usage: hz4 profile [options] FILE [PROGRAM]\n\n"
    "Has pprof draw a heap profile that hz4 wrote (HZ4_PROFILE=PREFIX): pprof, or \"go tool pprof\"; a profile as text may be\n"
    "drawn by google-pprof or jeprof too, which need PROGRAM for its names. (Pictures need graphviz.)\n\n"
    "  -o, --output FILE  the picture (default: FILE.svg)\n"
    "  -t, --text         a table on the output, and no picture\n"
    "  -s, --sample NAME  inuse_space, inuse_objects, alloc_space, alloc_objects, or held_space: free memory in spans that\n"
    "                     what is in use keeps from the system (default: inuse_space)\n"
    "  -n, --dry-run      print the command, and run nothing\n"
    "  -h, --help\n\n"
    "Exit: the tool's; 1 when there is none or FILE is no profile, 2 for bad usage.\n";

static const struct option longs[] = {{"output", required_argument, NULL, 'o'}, {"text", no_argument, NULL, 't'},
                                      {"sample", required_argument, NULL, 's'}, {"dry-run", no_argument, NULL, 'n'},
                                      {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

enum form { FORM_NONE, FORM_PROTO, FORM_TEXT };

static enum form form_of(const char *text, size_t size) {
  if (size >= 2 && (unsigned char)text[0] == 0x1f && (unsigned char)text[1] == 0x8b) return FORM_PROTO;
  // Not compressed: field 1, of sample types.
  if (size >= 2 && text[0] == '\n') return FORM_PROTO;
  return strncmp(text, "heap profile:", 13) == 0 || strncmp(text, "heap_v2/", 8) == 0 ? FORM_TEXT : FORM_NONE;
}

static bool is_there(const char *tool) {
  char path[PATH_MAX], why[PROGRAM_WHY];
  return program_find(tool, path, sizeof path, why);
}

int profile_main(int argc, char **argv) {
  const char *output = NULL, *sample = "inuse_space";
  static const char *const samples[] = {"inuse_space", "inuse_objects", "alloc_space", "alloc_objects", "held_space"};
  enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };
  bool as_text = false, dry = false;
  for (int option; (option = cmd_option(argc, argv, ":o:ts:nh", longs, help)) != -1;) {
    if (option == 'o') output = optarg;
    if (option == 's') sample = optarg;
    if (option == 't') as_text = true;
    if (option == 'n') dry = true;
  }
  size_t known = 0, size = 0;
  while (known < SAMPLES && strcmp(samples[known], sample) != 0) ++known;
  if (known == SAMPLES) cmd_usage("--sample: there is no %s", sample);
  if (optind == argc) cmd_usage("which file?");
  if (argc - optind > 2) cmd_usage("one file and its program, not %d words", argc - optind);
  const char *program = argv[optind + 1];
  char *file = argv[optind];
  // Nobody draws what comes by the input, and pprof takes other such names for options.
  if (*file == '-' && asprintf(&file, "./%s", file) < 0) return cmd_no("%s", strerror(errno));
  char *text = cmd_read(file, &size);
  if (text == NULL) return cmd_no("%s: %s", file, strerror(errno));
  enum form form = form_of(text, size);
  free(text);
  if (form == FORM_NONE) return cmd_no("%s is no heap profile", file);

  char *picture = NULL, *words[12], *samples_word = NULL;
  if (output == NULL && asprintf(&picture, "%s.svg", file) < 0) return cmd_no("%s", strerror(errno));
  size_t count = 0;
  const char *classic = is_there("google-pprof") ? "google-pprof" : is_there("jeprof") ? "jeprof" : NULL;
  bool is_classic = false;
  if (!as_text && !is_there("dot")) return cmd_no("pictures need graphviz's dot, which is not here; --text does not");
#define WORD(text) (words[count++] = (char *)(uintptr_t)(text))
  if (is_there("pprof")) {
    WORD("pprof");
  } else if (is_there("go")) {
    WORD("go");
    WORD("tool");
    WORD("pprof");
  } else if (form == FORM_TEXT && classic != NULL) {
    is_classic = true;
    WORD(classic);
  } else {
    return cmd_no("nobody is here to draw it: pprof (go install github.com/google/pprof@latest), or go");
  }
  if (asprintf(&samples_word, is_classic ? "--%s" : "-sample_index=%s", sample) < 0) return cmd_no("%s", strerror(errno));
  WORD(samples_word);
  WORD(as_text ? (is_classic ? "--text" : "-text") : (is_classic ? "--svg" : "-svg"));
  if (!as_text && !is_classic) {
    WORD("-output");
    WORD(output != NULL ? output : picture);
  }
  if (program != NULL) WORD(program);
  WORD(file);
  words[count] = NULL;
  if (dry) {
    for (size_t i = 0; i < count; ++i) printf("%s%s", words[i], i + 1 < count ? " " : "\n");
    return FINE;
  }
  if (!as_text && is_classic && freopen(output != NULL ? output : picture, "w", stdout) == NULL)
    return cmd_no("%s: %s", output != NULL ? output : picture, strerror(errno));
  execvp(words[0], words);
  return cmd_no("%s: %s", words[0], strerror(errno));
}
