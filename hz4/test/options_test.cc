// The table of options: what is taken, what is refused and reported, and how it is listed.
#include "hz4/options.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include <string>
#include <utility>
#include <vector>

namespace {

// A second reading of the table, so that a new option is tested without a change here.
struct Row {
  uint64_t hz4_option_values::*field;
  const char *name;
  uint64_t initial, least, greatest;
  const char *meaning;
};

#define ROW(field, name, initial, least, greatest, meaning) \
  {&hz4_option_values::field, name, initial, least, greatest, meaning},
const Row kRows[] = {HZ4_OPTION_TABLE(ROW)};

std::vector<std::pair<std::string, std::string>> complaints;

void Complain(const char *what, const char *detail) { complaints.emplace_back(what, detail); }

class Options : public testing::Test {
 protected:
  void SetUp() override {
    complaints.clear();
    saved_ = ::hz4_option;
  }
  void TearDown() override { ::hz4_option = saved_; }

  static void Parse(std::vector<std::string> entries) {
    std::vector<char *> environment;
    for (std::string &entry : entries) environment.push_back(entry.data());
    environment.push_back(nullptr);
    hz4_options_parse(nullptr, environment.data(), Complain);
  }
  static bool Unchanged() {
    for (const Row &row : kRows) {
      if (::hz4_option.*row.field != row.initial) return false;
    }
    return true;
  }
  static std::string Text(void (*put)(struct hz4_writer *)) {
    std::vector<char> buffer(1 << 16);
    struct hz4_writer w = {buffer.data(), buffer.size(), 0, 0, -1, 0};
    put(&w);
    return std::string(buffer.data(), w.used);
  }
  static std::string Entry(const Row &row, const std::string &value) { return std::string(row.name) + "=" + value; }

 private:
  struct hz4_option_values saved_;
};

TEST_F(Options, DefaultsAreInRange) {
  for (const Row &row : kRows) {
    EXPECT_EQ(::hz4_option.*row.field, row.initial) << row.name;
    EXPECT_LE(row.least, row.initial) << row.name;
    EXPECT_LE(row.initial, row.greatest) << row.name;
    EXPECT_EQ(strncmp(row.name, "HZ4_", 4), 0) << row.name;
  }
}

TEST_F(Options, EveryOptionTakesItsWholeRange) {
  for (const Row &row : kRows) {
    for (uint64_t value : {row.least, row.greatest, row.initial}) {
      Parse({"PATH=/bin", Entry(row, std::to_string(value)), "HOME=/"});
      EXPECT_EQ(::hz4_option.*row.field, value) << row.name;
    }
  }
  EXPECT_TRUE(complaints.empty());
  EXPECT_TRUE(Unchanged()) << "one option changed another";
}

TEST_F(Options, OutOfRangeIsReportedAndIgnored) {
  for (const Row &row : kRows) {
    std::vector<std::string> values = {std::to_string(row.greatest + 1), "18446744073709551615"};
    if (row.least > 0) values.push_back(std::to_string(row.least - 1));
    for (const std::string &value : values) {
      complaints.clear();
      Parse({Entry(row, value)});
      ASSERT_EQ(complaints.size(), 1u) << row.name << " " << value;
      EXPECT_EQ(complaints[0].first.rfind("ignored, for it takes " + std::to_string(row.least) + ".." +
                                          std::to_string(row.greatest), 0), 0u) << complaints[0].first;
      EXPECT_EQ(complaints[0].second, Entry(row, value));
    }
  }
  EXPECT_TRUE(Unchanged());
}

TEST_F(Options, WhatIsNoNumberIsReportedAndIgnored) {
  // The last but two is 2^64, the last two are 2^64 + 1 and a great deal more: no value by overflow.
  for (const char *value : {"", " ", "x", "1x", "x1", "-1", "+1", "0x1", "1 ", " 1", "1.0", "1e0", "yes", "\n1", "1K",
                            "18446744073709551616", "18446744073709551617", "36893488147419103233"}) {
    complaints.clear();
    Parse({Entry(kRows[0], value)});
    ASSERT_EQ(complaints.size(), 1u) << value;
    EXPECT_EQ(complaints[0].first, "ignored, for it takes 0..2, text, json: ");
    EXPECT_TRUE(Unchanged()) << value;
  }
}

TEST_F(Options, AComplaintSaysWhatTheOptionTakes) {
  Parse({"HZ4_FRONT=x", "HZ4_INBOX=x", "HZ4_DIRTY_KIB=64MB", "HZ4_PROFILE_BYTES=0", "HZ4_DIRTY_SHIFT=x"});
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"ignored, for it takes 0..1, cpu, thread: ", "HZ4_FRONT=x"},
      {"ignored, for it takes 0..1: ", "HZ4_INBOX=x"},
      {"ignored, for it takes 0..16777216, or a size as 64M: ", "HZ4_DIRTY_KIB=64MB"},
      {"ignored, for it takes 1..1099511627776, or a size as 64M: ", "HZ4_PROFILE_BYTES=0"},
      {"ignored, for it takes 0..63: ", "HZ4_DIRTY_SHIFT=x"}};
  EXPECT_EQ(complaints, expected);
}

TEST_F(Options, LeadingZerosAreDecimal) {
  Parse({"HZ4_TCACHE_KIB=0000000000000000000000000000000000000000000000000000000000000010"});
  EXPECT_EQ(::hz4_option.tcache_kib, 10u);
  EXPECT_TRUE(complaints.empty());
}

TEST_F(Options, UnknownVariablesAreReported) {
  const std::string first = kRows[0].name;
  for (const std::string &entry :
       {std::string("HZ4_NO_SUCH_OPTION=1"), std::string("HZ4_=1"), std::string("HZ4_"), first, first + "X=1",
        first.substr(0, first.size() - 1) + "=1", std::string("HZ4_stats=1"), std::string("HZ4_STATS =1")}) {
    complaints.clear();
    Parse({entry});
    ASSERT_EQ(complaints.size(), 1u) << entry;
    EXPECT_EQ(complaints[0].first, "unknown option, ignored: ");
    EXPECT_EQ(complaints[0].second, entry);
    EXPECT_TRUE(Unchanged()) << entry;
  }
}

TEST_F(Options, OtherPeoplesVariablesAreNot) {
  Parse({"HZ3_STATS=1", "XHZ4_STATS=1", "hz4_stats=1", "HZ4STATS=1", "HZ4", "", "=", "PATH=HZ4_STATS=1"});
  EXPECT_TRUE(complaints.empty());
  EXPECT_TRUE(Unchanged());
}

TEST_F(Options, OneBadValueDoesNotSpoilTheOthers) {
  Parse({"HZ4_STATS=7", "HZ4_DIRTY_SHIFT=5", "HZ4_NONSENSE=1", "HZ4_INBOX=0"});
  EXPECT_EQ(complaints.size(), 2u);
  EXPECT_EQ(::hz4_option.stats, 0u);
  EXPECT_EQ(::hz4_option.dirty_shift, 5u);
  EXPECT_EQ(::hz4_option.inbox, 0u);
}

TEST_F(Options, NoEnvironmentIsNothingSet) {
  hz4_options_parse(nullptr, nullptr, Complain);
  Parse({});
  EXPECT_TRUE(complaints.empty());
  EXPECT_TRUE(Unchanged());
}

TEST_F(Options, SizesHaveSuffixes) {
  const std::pair<const char *, uint64_t> sizes[] = {{"0K", 0},       {"1K", 1},        {"8KiB", 8},
                                                     {"64M", 65536},  {"64MiB", 65536}, {"1G", 1 << 20},
                                                     {"1GiB", 1 << 20}, {"16G", 16 << 20}, {"007M", 7168}};
  for (const auto &[text, kib] : sizes) {
    Parse({std::string("HZ4_DIRTY_KIB=") + text});
    EXPECT_EQ(::hz4_option.dirty_kib, kib) << text;
  }
  EXPECT_TRUE(complaints.empty());
  ::hz4_option.dirty_kib = 4096;
  // The last but two are 2^64 bytes, and 2^64 KiB; what follows begins as a suffix.
  for (const char *text : {"K", "KiB", "1k", "1m", "1MB", "1Mi", "1MiBs", "1MM", "1 M", "-1M", "1.5M", "17G", "1T", "1P", "1B",
                           "16777216T", "18014398509481984K", "18446744073709551615M"}) {
    complaints.clear();
    Parse({std::string("HZ4_DIRTY_KIB=") + text});
    EXPECT_EQ(complaints.size(), 1u) << text;
    EXPECT_TRUE(Unchanged()) << text;
  }
}

TEST_F(Options, BytesOfAText) {
  uint64_t bytes = 1;
  const char *text = "80M:1G";
  EXPECT_EQ(hz4_options_parse_bytes(text, &bytes), text + 3);
  EXPECT_EQ(bytes, uint64_t{80} << 20);
  text = "80%";
  EXPECT_EQ(hz4_options_parse_bytes(text, &bytes), text + 2);
  EXPECT_EQ(bytes, 80u);
  EXPECT_EQ(*hz4_options_parse_bytes("16777215T", &bytes), '\0');
  EXPECT_EQ(bytes, uint64_t{16777215} << 40);
  for (const char *bad : {"", "M", "%", "16777216T", "18446744073709551616"}) {
    EXPECT_EQ(hz4_options_parse_bytes(bad, &bytes), nullptr) << bad;
  }
}

TEST_F(Options, WordsStandForNumbers) {
  Parse({"HZ4_HARDEN=on", "HZ4_INBOX=no", "HZ4_HUGE_PAGES=all", "HZ4_FRONT=thread", "HZ4_STATS=json"});
  EXPECT_EQ(::hz4_option.harden, 1u);
  EXPECT_EQ(::hz4_option.inbox, 0u);
  EXPECT_EQ(::hz4_option.huge_pages, 1u);
  EXPECT_EQ(::hz4_option.front, uint64_t{HZ4_FRONT_THREAD});
  EXPECT_EQ(::hz4_option.stats, 2u);
  Parse({"HZ4_HARDEN=off", "HZ4_INBOX=yes", "HZ4_HUGE_PAGES=auto", "HZ4_FRONT=cpu", "HZ4_STATS=0"});
  EXPECT_TRUE(complaints.empty());
  EXPECT_TRUE(Unchanged());
  // Of another option, of none, and none at all.
  for (const char *entry : {"HZ4_FRONT=yes", "HZ4_FRONT=json", "HZ4_HARDEN=cpu", "HZ4_DIRTY_KIB=on", "HZ4_STATS=yes",
                            "HZ4_HARDEN=ON", "HZ4_HARDEN=maybe"}) {
    complaints.clear();
    Parse({entry});
    EXPECT_EQ(complaints.size(), 1u) << entry;
    EXPECT_TRUE(Unchanged()) << entry;
  }
}

TEST_F(Options, TheProgramsOwnComeFirst) {
  char entry[] = "HZ4_DIRTY_SHIFT=7";
  char *environment[] = {entry, nullptr};
  hz4_options_parse(" HZ4_DIRTY_SHIFT=5\tHZ4_INBOX=0\nHZ4_DIRTY_KIB=1M  ", environment, Complain);
  EXPECT_TRUE(complaints.empty());
  EXPECT_EQ(::hz4_option.dirty_shift, 7u);
  EXPECT_EQ(::hz4_option.inbox, 0u);
  EXPECT_EQ(::hz4_option.dirty_kib, 1024u);
  hz4_options_parse("dirty_kib=1 HZ4_INBOX=1 HZ4_NONE=2 HZ4_STATS=3", nullptr, Complain);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"unknown option, ignored: ", "dirty_kib=1"},
      {"unknown option, ignored: ", "HZ4_NONE=2"},
      {"ignored, for it takes 0..2, text, json: ", "HZ4_STATS=3"}};
  EXPECT_EQ(complaints, expected);
  EXPECT_EQ(::hz4_option.inbox, 1u);
  complaints.clear();
  const std::string endless(5000, 'x');
  hz4_options_parse(endless.c_str(), nullptr, Complain);
  EXPECT_EQ(complaints.size(), 1u);
  EXPECT_EQ(hz4_options_of_program(), nullptr) << "this program has none";
}

TEST_F(Options, SomeAreSetLater) {
  EXPECT_EQ(hz4_options_set("HZ4_DIRTY_KIB", "64M"), 0);
  EXPECT_EQ(::hz4_option.dirty_kib, 65536u);
  EXPECT_EQ(hz4_options_set("HZ4_DIRTY_KIB", "64X"), EINVAL);
  EXPECT_EQ(hz4_options_set("HZ4_DIRTY_KIB", "17G"), EINVAL);
  EXPECT_EQ(hz4_options_set("HZ4_DIRTY", "1"), ENOENT);
  EXPECT_EQ(hz4_options_set("", "1"), ENOENT);
  EXPECT_EQ(hz4_options_set("HZ4_FRONT", "1"), EPERM);
  EXPECT_EQ(hz4_options_set("HZ4_FRONT", "2"), EINVAL);
  EXPECT_EQ(hz4_options_set("HZ4_LIMIT", "1G"), EPERM);
  EXPECT_EQ(::hz4_option.dirty_kib, 65536u);
  EXPECT_EQ(Text([](struct hz4_writer *w) { EXPECT_TRUE(hz4_options_put("HZ4_DIRTY_KIB", w)); }), "65536");
  EXPECT_EQ(Text([](struct hz4_writer *w) { EXPECT_FALSE(hz4_options_put("HZ4_DIRTY", w)); }), "");
  EXPECT_EQ(hz4_options_set("HZ4_INBOX", "no"), 0);
  EXPECT_EQ(Text(hz4_options_put_changed), " HZ4_DIRTY_KIB=65536 HZ4_INBOX=0");
}

TEST_F(Options, ListHasOneLineForEach) {
  std::string expected;
  for (const Row &row : kRows) {
    expected += std::string(row.name) + " (" + std::to_string(row.least) + ".." + std::to_string(row.greatest) +
                ", default " + std::to_string(row.initial) + "): " + row.meaning + "\n";
  }
  EXPECT_EQ(Text(hz4_options_put_table).substr(0, expected.size()), expected);
  EXPECT_EQ(Text(hz4_options_put_changed), "");
}

}  // namespace
