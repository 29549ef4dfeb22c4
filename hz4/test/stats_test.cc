// Statistics: every counter and every gauge has something that makes it move, and the two formats keep their promises.
//
// A scenario runs in a child of its own: this process never allocates from hz4, so each child starts at zero, and what
// only ever rises to a maximum can be seen to rise. For scenarios threads have caches of their own (HZ4_FRONT=1), so that
// it is known whose is whose.
#include "hz4/stats.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "hz4/counter.h"
#include "hz4/hz4.h"
#include "hz4/options.h"
#include "hz4/rseq.h"
#include "hz4/test/stats.h"
#include "hz4/test/sys_fake.h"

namespace {

using namespace hz4_test;

// Whether hz4_stats_get knows it too.
bool IsValue(const std::string &name) {
  for (const char *other : {"fast_path_counters", "schema", "version", "pid"}) {
    if (name == other) return false;
  }
  return name.find('.') == std::string::npos;
}

// The last of the names, and the only one that this process moves though it does not use hz4.
std::string BeforeResident(const std::string &json) { return json.substr(0, json.find("\"resident_bytes\"")); }

// ---- the formats ----

TEST(Stats, JsonIsWellFormed) {
  std::map<std::string, uint64_t> members;
  ASSERT_TRUE(ParseJson(Json(), &members));
  EXPECT_EQ(members.at("fast_path_counters"), uint64_t{HZ4_STATS_FAST});
  EXPECT_EQ(members.at("schema"), uint64_t{HZ4_STATS_SCHEMA});
  EXPECT_EQ(members.at("pid"), static_cast<uint64_t>(getpid()));
  EXPECT_EQ(members.count("version"), 1u);
  for (const auto &[name, value] : members) EXPECT_EQ(hz4_stats_get(name.c_str()) != UINT64_MAX, IsValue(name)) << name;
}

TEST(Stats, JsonTruncatesLikeSnprintf) {
  const std::string whole = Json();
  for (size_t size = 0; size < whole.size() + 3; ++size) {
    std::vector<char> buffer(whole.size() + 8, '#');
    ASSERT_EQ(hz4_stats_json(buffer.data(), size), whole.size()) << size;
    const size_t written = size == 0 ? 0 : std::min(size - 1, whole.size());
    ASSERT_EQ(BeforeResident(std::string(buffer.data(), written)), BeforeResident(whole.substr(0, written)));
    ASSERT_TRUE(size == 0 || buffer[written] == '\0');
    for (size_t i = size == 0 ? 0 : written + 1; i < buffer.size(); ++i) ASSERT_EQ(buffer[i], '#') << size << " " << i;
  }
  EXPECT_EQ(hz4_stats_json(nullptr, 0), whole.size());
}

TEST(Stats, ValuesByName) {
  EXPECT_EQ(hz4_stats_get("no_such_counter"), UINT64_MAX);
  EXPECT_EQ(hz4_stats_get(""), UINT64_MAX);
  EXPECT_EQ(hz4_stats_get("small_"), UINT64_MAX);
  InChild([] {
    UseBins(1000);
    UseBins(9000);
#define DEMAND_SUM(name, meaning) \
  HZ4_DEMAND(hz4_stats_get(#name) == hz4_stats_get("small_" #name) + hz4_stats_get("mid_" #name));
    HZ4_COUNTER_TABLE(DEMAND_SUM)
#undef DEMAND_SUM
    HZ4_DEMAND(hz4_stats_get("small_refill_calls") > 0 && hz4_stats_get("mid_refill_calls") > 0);
  });
}

TEST(Stats, TextHasTheSeedsLines) {
  const auto lines = ParseText(Captured([](int fd) { hz4_stats_print(fd); }));
  const std::map<std::string, std::vector<const char *>> seed = {
      {"HZ4_MID_STATS_B1",
       {"malloc_calls", "malloc_alloc_cache_hit", "malloc_lock_path", "malloc_bin_hit", "malloc_bin_miss",
        "malloc_page_create", "free_calls", "free_batch_enq", "free_batch_flush"}},
      {"HZ4_OS_STATS",
       {"remote_flush_calls", "inbox_push_list", "rlen_ge_th", "inbox_consume", "inbox_stash_max", "carry_miss",
        "seg_acq", "large_acq", "large_rel"}},
      {"HZ4_OS_STATS_B9",
       {"ls_acq_self", "ls_acq_steal", "ls_acq_miss", "ls_rel_self", "ls_rel_steal", "ls_rel_miss", "p2_acq_self"}}};
  for (const auto &[prefix, names] : seed) {
    ASSERT_EQ(lines.count(prefix), 1u) << prefix;
    for (const char *name : names) EXPECT_EQ(lines.at(prefix).count(name), 1u) << prefix << " " << name;
  }
  EXPECT_EQ(lines.count("HZ4_LOCKS"), HZ4_STATS_FAST != 0 ? 1u : 0u);
  // What only --config=stats counts is never a zero that looks like a count.
  EXPECT_EQ(lines.at("HZ4_MID_STATS_B1").at("malloc_calls") == "n/a", HZ4_STATS_FAST == 0);
}

// Text and JSON tell the same, and after all that can happen no value of the text is zero.
// The longest line before the counters.
size_t ColumnsOfTheReport() {
  const std::string text = Captured([](int fd) { hz4_stats_print(fd); });
  size_t longest = 0;
  for (size_t at = 0; text.compare(at, 5, "[HZ4_") != 0; at = text.find('\n', at) + 1) {
    longest = std::max(longest, text.find('\n', at) - at);
  }
  return longest;
}

TEST(Stats, TheReportFitsATerminal) {
  auto in_child = [] {  // what the others look at stays as it was
    char *volatile block = static_cast<char *>(hz4_malloc(100 << 20));
    _exit(block != nullptr && ColumnsOfTheReport() <= 80 ? 0 : 1);
  };
  EXPECT_EXIT(in_child(), testing::ExitedWithCode(0), "");
}

TEST(Stats, TextMovesToo) {
  InChild([] {
    RunAll();
    const auto lines = ParseText(Captured([](int fd) { hz4_stats_print(fd); }));
    HZ4_DEMAND(lines.size() >= 6);
    for (const auto &[prefix, values] : lines) {
      for (const auto &[name, value] : values) {
        if (prefix == "HZ4_HEAP" && name == "thread_by_cpu") continue;  // threads have their own
        if (value == "0") fprintf(stderr, "[%s] %s is 0\n", prefix.c_str(), name.c_str());
        HZ4_DEMAND(value != "0");
      }
    }
    HZ4_DEMAND(lines.at("HZ4_MID_STATS_B1").at("malloc_lock_path") == WithCommas(hz4_stats_get("mid_refill_lock")));
    HZ4_DEMAND(lines.at("HZ4_COUNTERS_SMALL").at("flush_calls") == WithCommas(hz4_stats_get("small_flush_calls")));
    HZ4_DEMAND(lines.at("HZ4_HEAP").at("os_mmap_calls") == WithCommas(hz4_stats_get("os_mmap_calls")));
    HZ4_DEMAND(lines.at("HZ4_OS_STATS").at("large_acq") == WithCommas(hz4_stats_get("large_allocs")));
    const std::map<std::string, std::string> &calls = lines.at("HZ4_MID_STATS_B1");
    HZ4_DEMAND(calls.count("malloc_lock_path%") == HZ4_STATS_FAST);
    if (HZ4_STATS_FAST == 0) return;
    const uint64_t mallocs = hz4_stats_get("mid_malloc_calls"), hits = mallocs - hz4_stats_get("mid_refill_calls");
    HZ4_DEMAND(calls.at("malloc_calls") == WithCommas(mallocs));
    HZ4_DEMAND(calls.at("malloc_alloc_cache_hit%") == Share(hits, mallocs));
    HZ4_DEMAND(calls.at("malloc_lock_path%") == Share(hz4_stats_get("mid_refill_lock"), mallocs));
  });
}

// Two digits behind the point, the first of which may be a zero.
TEST(Stats, SharesHaveTwoDecimals) {
  if (HZ4_STATS_FAST == 0) GTEST_SKIP() << "shares are printed only with --config=stats";
  InChild([] {
    hz4_free(hz4_malloc(8192));
    for (const char *end : {".10%)", ".09%)"}) {  // the share falls with every malloc
      std::string share;
      while (share.size() < 5 || share.compare(share.size() - 5, 5, end) != 0) {
        hz4_free(hz4_malloc(8192));
        share = Share(hz4_stats_get("mid_refill_lock"), hz4_stats_get("mid_malloc_calls"));
        HZ4_DEMAND(share != "(0.00%)");
      }
      const auto lines = ParseText(Captured([](int fd) { hz4_stats_print(fd); }));
      HZ4_DEMAND(lines.at("HZ4_MID_STATS_B1").at("malloc_lock_path%") == share);
    }
  });
}

TEST(Stats, AtExitFollowsTheOption) {
  const auto printed = [](uint64_t option) {
    hz4_option.stats = option;
    const std::string text = Captured([](int fd) {
      const int saved = dup(STDERR_FILENO);
      dup2(fd, STDERR_FILENO);
      hz4_stats_at_exit();  // not this file: it was another as hz4 began
      hz4_stderr_remember();
      hz4_stats_at_exit();
      dup2(saved, STDERR_FILENO);
      close(saved);
      hz4_stderr_remember();
    });
    hz4_option.stats = 0;
    return text;
  };
  EXPECT_EQ(printed(0), "");
  EXPECT_EQ(ParseText(printed(1)).count("HZ4_OS_STATS"), 1u);
  EXPECT_EQ(BeforeResident(printed(2)), BeforeResident(Json())) << "the whole of it";
}

TEST(Stats, FileIsWrittenWhenItIsDue) {
  InChild([] {
    const char *folder = getenv("TEST_TMPDIR");
    const std::string path = std::string(folder != nullptr ? folder : "/tmp") + "/hz4_stats_" + std::to_string(getpid());
    HZ4_DEMAND(path.size() < sizeof(hz4_option.stats_file));
    strcpy(hz4_option.stats_file, path.c_str());
    hz4_option.stats_seconds = 10;
    hz4_stats_begin();
    const auto written = [&path](uint64_t now_ns) {
      hz4_sys_fake.now_ns = now_ns;
      errno = 42;
      hz4_free(hz4_malloc(kMiB));
      HZ4_DEMAND(errno == 42);
      return unlink(path.c_str()) == 0;
    };
    constexpr uint64_t kSecond = 1000000000;
    HZ4_DEMAND(written(1));  // at once
    HZ4_DEMAND(!written(1) && !written(10 * kSecond));
    HZ4_DEMAND(written(10 * kSecond + 1));
    HZ4_DEMAND(!written(20 * kSecond));
    HZ4_DEMAND(written(500 * kSecond));  // once, however late it is
    HZ4_DEMAND(!written(509 * kSecond));
    hz4_front.lent = true;  // a child of vfork
    HZ4_DEMAND(!written(600 * kSecond));
    hz4_front.lent = false;
    HZ4_DEMAND(written(600 * kSecond));
    hz4_stats_at_exit();
    HZ4_DEMAND(unlink(path.c_str()) == 0);
  });
}

TEST(Stats, PrintingToNowhereDoesNoHarm) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  hz4_stats_print(ends[0]);  // not open for writing
  close(ends[0]);
  close(ends[1]);
  hz4_stats_print(-1);
  hz4_options_print(ends[1]);  // closed
}

TEST(Stats, OptionsArePrinted) {
  std::vector<char> buffer(1 << 16);
  struct hz4_writer w = {buffer.data(), buffer.size(), 0, 0, -1, 0};
  hz4_options_put_table(&w);
  const std::string expected(buffer.data(), w.used);
  EXPECT_EQ(Captured([](int fd) { hz4_options_print(fd); }), expected);
  EXPECT_NE(expected.find("HZ4_STATS"), std::string::npos);
}

TEST(Stats, OptionsAreSetWhileItRuns) {
  InChild([] {
    char value[9] = "########";
    HZ4_DEMAND(hz4_option_get("HZ4_DIRTY_KIB", value, 3) == 4 && strcmp(value, "40") == 0 && value[3] == '#');
    HZ4_DEMAND(hz4_option_get("HZ4_DIRTY_KIB", nullptr, 0) == 4);
    HZ4_DEMAND(hz4_option_get("HZ4_NONE", value, sizeof(value)) == -1 && errno == ENOENT);
    HZ4_DEMAND(hz4_option_set("HZ4_NONE", "1") == -1 && errno == ENOENT);
    HZ4_DEMAND(hz4_option_set("HZ4_HARDEN", "1") == -1 && errno == EPERM);
    HZ4_DEMAND(hz4_option_set("HZ4_DIRTY_KIB", "64MB") == -1 && errno == EINVAL);
    HZ4_DEMAND(hz4_option_set("HZ4_LIMIT", "2G:1G") == -1 && errno == EINVAL);
    HZ4_DEMAND(hz4_option_set("HZ4_LIMIT", "1G:2G") == -1 && errno == EPERM);
    HZ4_DEMAND(hz4_option_set("HZ4_STATS_FILE", std::string(1 << 16, 'x').c_str()) == -1 && errno == EINVAL);
    // It counts from the next free on: what is free stays, and goes.
    errno = 0;
    HZ4_DEMAND(hz4_option_set("HZ4_DIRTY_KIB", "1G") == 0 && errno == 0);
    HZ4_DEMAND(hz4_option_set("HZ4_TCACHE_KIB", "0") == 0);
    FreeAll(MallocMany(HZ4_CLASS_MAX_BYTES, 240));
    HZ4_DEMAND(hz4_stats_get("segment_dirty_bytes") > 50 * kMiB);
    HZ4_DEMAND(hz4_option_set("HZ4_DIRTY_KIB", "1M") == 0);
    for (int i = 0; i < 20; ++i) FreeAll(MallocMany(HZ4_CLASS_MAX_BYTES, 20));
    HZ4_DEMAND(hz4_stats_get("segment_dirty_bytes") < 10 * kMiB);
  });
}

// Once a thread has come to a cache: before that it is not known.
TEST(Stats, TellWhetherCachesAreCpus) {
  InChild([] {
    const bool can = hz4_rseq_ids() != 0 && hz4_rseq_area() != nullptr;
    HZ4_DEMAND(hz4_stats_get("thread_by_cpu") == 0);
    hz4_free(hz4_malloc(1));
    HZ4_DEMAND(hz4_stats_get("thread_by_cpu") == uint64_t{can && hz4_option.front == HZ4_FRONT_CPU});
  });
}

// ---- every value moves ----

std::vector<std::string> AllNames() {
  std::map<std::string, uint64_t> members;
  std::vector<std::string> names;
  if (!ParseJson(Json(), &members)) abort();
  for (const auto &[name, value] : members) {
    if (IsValue(name) && name != "thread_by_cpu") names.push_back(name);
  }
  return names;
}

class Moves : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Stats, Moves, testing::ValuesIn(AllNames()), [](const auto &info) { return info.param; });

TEST_P(Moves, Value) {
  const std::string name = GetParam();
  if (HZ4_STATS_FAST == 0 && (name.find("malloc_calls") != std::string::npos ||
                              name.find("free_calls") != std::string::npos)) {
    GTEST_SKIP() << name << " is counted only with --config=stats";
  }
  const std::function<void()> scenario = ScenarioFor(name);
  ASSERT_TRUE(scenario) << "nothing here makes " << name << " move";
  InChild([&] {
    const uint64_t before = hz4_stats_get(name.c_str());
    watched = name;
    most_seen = before;
    scenario();
    Look();
    if (most_seen <= before) fprintf(stderr, "%s stayed at %lu\n", name.c_str(), static_cast<unsigned long>(before));
    HZ4_DEMAND(most_seen > before);
  });
}

}  // namespace
