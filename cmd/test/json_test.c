// What json.h reads, and what it refuses.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"

static void die(const char *what, const char *text) {
  fprintf(stderr, "%s: %s\n", what, text);
  exit(1);
}

static void refuse(const char *text) {
  struct json json;
  size_t at;
  if (json_read(text, &json, &at) && at == strlen(text)) die("it was read", text);
  if (at > strlen(text)) die("it went wrong beyond its end", text);
  json_free(&json);
}

static void expect(const char *text, const char *path, double number, const char *word) {
  struct json json;
  size_t at;
  if (!json_read(text, &json, &at) || at != strlen(text)) die("it was not read", text);
  if (json_number(&json, path, -1) != number) die(path, text);
  if (strcmp(json_text(&json, path, ""), word) != 0) die(path, text);
  json_free(&json);
}

int main(void) {
  expect("7", "", 7, "");
  expect(" {\"a\" : -1.5e2 , \"b\": [true, {\"c\": 3}]}\n", "a", -150, "");
  expect("{\"a\": 1, \"b\": [true, {\"c\": 3}]}", "b.0", 1, "");
  expect("{\"a\": 1, \"b\": [true, {\"c\": 3}]}", "b.1.c", 3, "");
  expect("{\"a\": null, \"b\": false}", "a", 0, "");
  expect("{\"a\": [], \"b\": {}}", "a", -1, "");
  expect("{\"a\": \"x\\\"\\n\\u0041\\u20ac\"}", "a", -1, "x\"\nA?");
  expect("18446744073709551615", "", 18446744073709551615.0, "");
  const char *const bad[] = {"", " ", "{", "}", "[1,", "[1 2]", "{\"a\"}", "{\"a\":}", "{a: 1}", "{\"a\": 1,}", "[1,]", "1 2",
                             "0x10", "+1", ".5", "inf", "nan", "-", "\"", "\"\\x\"", "\"\\u12\"", "\"\n\"", "tru", "[[", "-inf"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) refuse(bad[i]);
  char deep[4096];
  memset(deep, '[', sizeof deep - 1);
  deep[sizeof deep - 1] = '\0';
  refuse(deep);
  // Cut anywhere, it is none.
  const char *whole = "{\"a\": [1, \"b\\n\", true], \"c\": {\"d\": -2.5}}";
  for (size_t length = 0; length < strlen(whole); ++length) {
    char part[64];
    memcpy(part, whole, length);
    part[length] = '\0';
    refuse(part);
  }
  puts("PASSED");
  return 0;
}
