// Text that is composed: nothing is lost where it is written out, and nothing overflows where it is not.
#include "hz4/writer.h"

#include <gtest/gtest.h>
#include <stdio.h>

#include <string>

namespace {

void PutAll(struct hz4_writer *w) {
  hz4_put_text(w, "live ");
  hz4_put_number(w, 0);
  hz4_put_text(w, "");
  hz4_put_text(w, " ");
  hz4_put_number(w, UINT64_MAX);
  for (uint64_t number : {uint64_t{0}, uint64_t{999}, uint64_t{1000}, uint64_t{1234567}, UINT64_MAX}) {
    hz4_put_text(w, " ");
    hz4_put_grouped(w, number);
  }
}

const char kAll[] = "live 0 18446744073709551615 0 999 1,000 1,234,567 18,446,744,073,709,551,615";

TEST(Writer, WhatDoesNotFitIsCounted) {
  for (size_t size = 0; size < sizeof(kAll) + 3; ++size) {
    std::string buffer(size + 8, '#');
    struct hz4_writer w = {&buffer[0], size, 0, 0, -1};
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
    struct hz4_writer w = {&buffer[0], size, 0, 0, fileno(file)};
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
