// The table of options: what is taken, what is refused and reported, and how it is listed.
#include "hz4/options.h"

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
    hz4_options_parse(environment.data(), Complain);
  }
  static bool Unchanged() {
    for (const Row &row : kRows) {
      if (::hz4_option.*row.field != row.initial) return false;
    }
    return true;
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
      EXPECT_EQ(complaints[0].first, "not a number in the option's range, ignored: ");
      EXPECT_EQ(complaints[0].second, Entry(row, value));
    }
  }
  EXPECT_TRUE(Unchanged());
}

TEST_F(Options, WhatIsNoNumberIsReportedAndIgnored) {
  // The last but two is 2^64, the last two are 2^64 + 1 and a great deal more: no value by overflow.
  for (const char *value : {"", " ", "x", "1x", "x1", "-1", "+1", "0x1", "1 ", " 1", "1.0", "1e0", "yes", "\n1",
                            "18446744073709551616", "18446744073709551617", "36893488147419103233"}) {
    complaints.clear();
    Parse({Entry(kRows[0], value)});
    ASSERT_EQ(complaints.size(), 1u) << value;
    EXPECT_EQ(complaints[0].first, "not a number in the option's range, ignored: ");
    EXPECT_TRUE(Unchanged()) << value;
  }
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
  hz4_options_parse(nullptr, Complain);
  Parse({});
  EXPECT_TRUE(complaints.empty());
  EXPECT_TRUE(Unchanged());
}

TEST_F(Options, ListHasOneLineForEach) {
  std::string text;
  hz4_options_list([](void *context, const char *part) { *static_cast<std::string *>(context) += part; }, &text);
  std::string expected;
  for (const Row &row : kRows) {
    expected += std::string(row.name) + " (" + std::to_string(row.least) + ".." + std::to_string(row.greatest) +
                ", default " + std::to_string(row.initial) + "): " + row.meaning + "\n";
  }
  EXPECT_EQ(text, expected);
}

}  // namespace
