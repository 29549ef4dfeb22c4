// Text that is composed: nothing is lost where it is written out, and nothing overflows where it is not.
#include "hz4/writer.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <string>

namespace {

void PutAll(struct hz4_writer *w) {
  hz4_put(w, "live %lu%s %lu", uint64_t{0}, "", UINT64_MAX);
  for (uint64_t number : {uint64_t{0}, uint64_t{999}, uint64_t{1000}, uint64_t{1234567}, UINT64_MAX}) hz4_put(w, " %'lu", number);
}

const char kAll[] = "live 0 18446744073709551615 0 999 1,000 1,234,567 18,446,744,073,709,551,615";

// As stdio has it, but for the groups, which it makes by the locale.
TEST(Writer, WritesAsPrintfDoes) {
  char ours[200], theirs[200];
#define EXPECT_SAME(...)                                                    \
  hz4_format(ours, sizeof ours, __VA_ARGS__);                               \
  ASSERT_LT(snprintf(theirs, sizeof theirs, __VA_ARGS__), (int)sizeof theirs); \
  EXPECT_STREQ(ours, theirs)
  EXPECT_SAME("%s", "");
  EXPECT_SAME("a%%b%s%s%%", "c", "");
  for (uint64_t number : {uint64_t{0}, uint64_t{9}, uint64_t{10}, uint64_t{UINT32_MAX}, UINT64_MAX}) {
    EXPECT_SAME("%lu|%lx|%u|%x|", number, number, static_cast<unsigned>(number), static_cast<unsigned>(number));
    EXPECT_SAME("%1lu|%20lu|%016lx|%02lu|%4u", number, number, number, number, static_cast<unsigned>(number));
  }
#undef EXPECT_SAME
  hz4_format(ours, sizeof ours, "%'7lu|%'9u|%'1lu", uint64_t{999999}, 1234567u, uint64_t{1000});
  EXPECT_STREQ(ours, "999,999|1,234,567|1,000");
  hz4_format(ours, 5, "%s", "123456");
  EXPECT_STREQ(ours, "1234");
}

TEST(Writer, WhatTheSystemSaysIsKept) {
  char buffer[4];
  struct hz4_writer w = {buffer, sizeof buffer, 0, 0, 12345, 0};
  hz4_put(&w, "123456789");
  EXPECT_EQ(w.error, EBADF);
  EXPECT_EQ(w.total, 9u);
}

TEST(Writer, WhatDoesNotFitIsCounted) {
  for (size_t size = 0; size < sizeof(kAll) + 3; ++size) {
    std::string buffer(size + 8, '#');
    struct hz4_writer w = {&buffer[0], size, 0, 0, -1, 0};
    PutAll(&w);
    hz4_writer_flush(&w);
    const std::string all = kAll;
    EXPECT_EQ(w.total, all.size());
    EXPECT_EQ(buffer.substr(0, w.used), all.substr(0, size));
    EXPECT_EQ(buffer.substr(w.used), std::string(buffer.size() - w.used, '#'));
  }
}

TEST(Writer, WhatIsFullIsWritten) {
  for (size_t size : {1, 2, 7, 64, 4096}) {
    FILE *file = tmpfile();
    ASSERT_NE(file, nullptr);
    std::string buffer(size, '#'), written(sizeof(kAll) + 8, '#');
    struct hz4_writer w = {&buffer[0], size, 0, 0, fileno(file), 0};
    PutAll(&w);
    EXPECT_EQ(w.total, sizeof(kAll) - 1);
    hz4_writer_flush(&w);
    hz4_writer_flush(&w);
    rewind(file);
    written.resize(fread(&written[0], 1, written.size(), file));
    fclose(file);
    EXPECT_EQ(written, kAll);
  }
}

}  // namespace
