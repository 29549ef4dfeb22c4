// Scenarios that make statistics move, and readers of what is printed.
#ifndef HZ4_TEST_STATS_H_
#define HZ4_TEST_STATS_H_

#include <ctype.h>
#include <gtest/gtest.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "hz4/hz4.h"
#include "hz4/limit.h"
#include "hz4/options.h"
#include "hz4/shard.h"
#include "hz4/tcache.h"
#include "hz4/test/hostile.h"
#include "hz4/test/sys_fake.h"

namespace hz4_test {

constexpr size_t kMiB = size_t{1} << 20;

// ---- reading ----

inline std::string Json() {
  std::string text(hz4_stats_json(nullptr, 0) + 1, '\0');
  hz4_stats_json(text.data(), text.size());
  text.pop_back();
  return text;
}

// Reads an object of numbers, booleans and texts as RFC 8259 has it, and arrays of such: what is in the i-th object of
// "classes" is "classes.i.name", and a text's value is 0. False when it is anything else, or a name comes twice.
class JsonReader {
 public:
  JsonReader(const std::string &text, std::map<std::string, uint64_t> *members) : at_(text.c_str()), members_(members) {}
  bool Read() { return Object("") && (Take(""), *at_ == '\0'); }

 private:
  bool Take(const char *token) {
    while (isspace(static_cast<unsigned char>(*at_))) ++at_;
    const size_t n = strlen(token);
    if (strncmp(at_, token, n) != 0) return false;
    at_ += n;
    return true;
  }
  bool Text(std::string *text) {
    if (!Take("\"")) return false;
    while (isalnum(static_cast<unsigned char>(*at_)) || *at_ == '_' || *at_ == '.') *text += *at_++;
    return !text->empty() && *at_++ == '"';
  }
  bool Number(uint64_t *value) {
    Take("");
    if (!isdigit(static_cast<unsigned char>(*at_)) || (at_[0] == '0' && isdigit(static_cast<unsigned char>(at_[1])))) {
      return false;
    }
    char *end;
    *value = strtoull(at_, &end, 10);
    at_ = end;
    return true;
  }
  bool Array(const std::string &prefix) {
    if (Take("]")) return true;
    size_t i = 0;
    do {
      if (!Object(prefix + "." + std::to_string(i++) + ".")) return false;
    } while (Take(","));
    return Take("]");
  }
  bool Object(const std::string &prefix) {
    if (!Take("{")) return false;
    do {
      std::string name, text;
      if (!Text(&name) || !Take(":")) return false;
      if (Take("[")) {
        if (!Array(prefix + name)) return false;
        continue;
      }
      uint64_t value = 0;
      if (Take("true")) value = 1;
      else if (!Take("false") && !Text(&text) && !Number(&value)) return false;
      if (!members_->emplace(prefix + name, value).second) return false;
    } while (Take(","));
    return Take("}");
  }

  const char *at_;
  std::map<std::string, uint64_t> *members_;
};

inline bool ParseJson(const std::string &text, std::map<std::string, uint64_t> *members) {
  return JsonReader(text, members).Read();
}

// Of the counters: "[PREFIX] name=value name=value (12.34%)" for each line: prefix -> name -> value, and "name%" ->
// "(12.34%)". Fails the test on any other text. Before them is the report, and an empty line.
inline std::map<std::string, std::map<std::string, std::string>> ParseText(const std::string &text) {
  std::map<std::string, std::map<std::string, std::string>> lines;
  for (size_t start = text.rfind("\n\n") + 2; start < text.size();) {
    const size_t end = text.find('\n', start);
    HZ4_DEMAND(end != std::string::npos);
    const std::string line = text.substr(start, end - start);
    start = end + 1;
    const size_t close = line.find("] ");
    HZ4_DEMAND(line[0] == '[' && close != std::string::npos);
    auto &values = lines[line.substr(1, close - 1)];
    HZ4_DEMAND(values.empty());
    std::string name;
    for (size_t at = close + 2; at < line.size();) {
      const size_t stop = std::min(line.find(' ', at), line.size());
      const std::string word = line.substr(at, stop - at);
      at = stop + 1;
      if (word[0] == '(') {
        HZ4_DEMAND(values.emplace(name + "%", word).second);
        continue;
      }
      const size_t equals = word.find('=');
      HZ4_DEMAND(equals != std::string::npos && equals > 0 && equals + 1 < word.size());
      name = word.substr(0, equals);
      HZ4_DEMAND(values.emplace(name, word.substr(equals + 1)).second);
    }
  }
  return lines;
}

inline std::string WithCommas(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

inline std::string Share(uint64_t part, uint64_t whole) {
  char text[64];
  const uint64_t hundredths = (part * 10000 + whole / 2) / whole;
  snprintf(text, sizeof text, "(%" PRIu64 ".%02" PRIu64 "%%)", hundredths / 100, hundredths % 100);
  return text;
}

// What `print` writes to the descriptor it is given.
inline std::string Captured(const std::function<void(int)> &print) {
  FILE *file = tmpfile();
  HZ4_DEMAND(file != nullptr);
  print(fileno(file));
  std::string text;
  rewind(file);
  for (int c; (c = getc(file)) != EOF;) text += static_cast<char>(c);
  fclose(file);
  return text;
}

// Runs in a child, where nothing has been allocated yet. HZ4_DEMAND ends it.
inline void InChild(const std::function<void()> &run) {
  fflush(nullptr);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    run();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// ---- scenarios ----

inline std::string watched;
inline uint64_t most_seen;

// Gauges rise and fall: scenarios look when they have come to something.
inline void Look() {
  if (watched.empty()) return;
  const uint64_t now = hz4_stats_get(watched.c_str());
  if (now > most_seen) most_seen = now;
}

inline std::vector<void *> MallocMany(size_t size, size_t n) {
  std::vector<void *> blocks(n);
  for (void *&block : blocks) HZ4_DEMAND((block = hz4_malloc(size)) != nullptr);
  return blocks;
}

inline void FreeAll(const std::vector<void *> &blocks) {
  for (void *block : blocks) hz4_free(block);
}

// To and fro, above blocks that stay: bins grow to their limit, and the class does not decline.
inline void GrowBin(size_t size) {
  const std::vector<void *> held = MallocMany(size, 1000);
  for (int i = 0; i < 30; ++i) {
    // Somebody else comes by: for a while this thread is not alone, and the depot in use.
    if (i % 10 == 9) std::thread([size] { hz4_free(hz4_malloc(size)); }).join();
    FreeAll(MallocMany(size, 500));
  }
  Look();
  FreeAll(held);
}

// Misses, overflows, growth; the depot; a decline, which shrinks bins; trimming, which closes spans.
inline void UseBins(size_t size) {
  GrowBin(size);
  FreeAll(MallocMany(size, 3000));
  Look();
  hz4_malloc_trim(0);
  // Single objects keep their spans.
  const std::vector<void *> blocks = MallocMany(size, 1000);
  for (size_t i = 1; i < blocks.size(); ++i) hz4_free(blocks[i]);
  hz4_malloc_trim(0);
  Look();
  hz4_free(blocks[0]);
}

// A thread with a large bin frees what this one allocated, in batches of which the inbox takes only some. Then this
// thread finds them there, and its bin is too small for them: nothing could be cached when it allocated. (So many stay
// that it is no decline, which would empty the inbox.)
inline std::vector<void *> FillInbox(size_t size) {
  hz4_free(hz4_malloc(size));  // the first malloc divides the budget, and the one that makes the process large
  hz4_free(hz4_malloc(2 * HZ4_GROWN_BYTES));
  hz4_tcache_set_budget(0);
  std::vector<void *> blocks = MallocMany(size, 4000);
  std::thread([&] {
    GrowBin(size);
    for (size_t i = 0; i < 900; ++i) hz4_free(blocks[i]);
    Look();
  }).join();
  blocks.erase(blocks.begin(), blocks.begin() + 900);
  return blocks;
}

inline void UseInbox(size_t size) {
  std::vector<void *> blocks = FillInbox(size);
  for (int i = 0; i < 900; ++i) blocks.push_back(hz4_malloc(size));
  Look();
  FreeAll(blocks);
}

// A thread frees what this one allocated, and another one needs it before this one does.
inline void Steal(size_t size) {
  const std::vector<void *> blocks = MallocMany(size, 2000);
  std::thread([&] {
    GrowBin(size);
    for (size_t i = 0; i < 900; ++i) hz4_free(blocks[i]);
  }).join();
  std::thread([&] { FreeAll(MallocMany(size, 3000)); }).join();
  FreeAll({blocks.begin() + 900, blocks.end()});
}

// Destructors run in the order of their keys, and hz4's key is the first: this one comes after the end of the cache.
inline void AfterTheEnd(void *size) {
  hz4_free(hz4_malloc(*static_cast<size_t *>(size)));
}

inline void OutliveTheCache(size_t size) {
  pthread_key_t key;
  HZ4_DEMAND(pthread_key_create(&key, AfterTheEnd) == 0);
  std::thread([&] {
    hz4_free(hz4_malloc(size));
    HZ4_DEMAND(pthread_setspecific(key, &size) == 0);
  }).join();
  pthread_key_delete(key);
}

inline void UseLarge() {
  void *block = hz4_malloc(10 * kMiB);
  block = hz4_realloc(block, 2 * kMiB);
  block = hz4_realloc(block, 6 * kMiB);  // into what it gave up
  hz4_sys_fake.never_in_place = true;
  block = hz4_realloc(block, 20 * kMiB);
  Look();
  hz4_free(block);
  hz4_free(hz4_malloc(3 * kMiB));
  Look();
  hz4_free(hz4_malloc(3 * kMiB));
  for (int i = 0; i < 2 + HZ4_LARGE_SWINGS; ++i) FreeAll(MallocMany(3 * kMiB, 10));
  Look();
  hz4_sys_fake_reset();
}

inline void UseSegments() {
  const std::vector<void *> runs = MallocMany(HZ4_CLASS_MAX_BYTES, 240);
  Look();
  FreeAll(runs);
  Look();
  hz4_malloc_trim(0);
  Look();
}

// What the first shard's spans have is freed at each of two.
inline void UseShards(size_t size) {
  hz4_option.shards = 2;
  hz4_shard_find(2, "");
  std::vector<void *> blocks = MallocMany(size, 4000);
  std::thread([&] {
    for (int cpu : {0, 1}) {
      cpu_set_t only;
      CPU_ZERO(&only);
      CPU_SET(cpu, &only);
      sched_setaffinity(0, sizeof(only), &only);  // a thread's own cache is of a shard by its number, wherever it runs
      FreeAll({blocks.begin() + cpu * 2000, blocks.begin() + (cpu + 1) * 2000});
    }
    Look();
  }).join();
}

// All of it touched, so that segments come in huge pages.
inline void UseHuge() {
  std::vector<void *> blocks;
  for (int i = 0; i < 512; ++i) {
    blocks.push_back(hz4_malloc(HZ4_CLASS_MAX_BYTES));
    memset(blocks.back(), 1, HZ4_CLASS_MAX_BYTES);
  }
  FreeAll(blocks);
}

// What goes back is wanted again at once.
inline void Swing() {
  hz4_sys_fake.now_ns = 1;
  for (int i = 0; i < 2 + HZ4_THRASHING_SWINGS; ++i) FreeAll(MallocMany(HZ4_CLASS_MAX_BYTES, 240));
  Look();
}

// Hardly anything is left in spans of which each has something.
inline void PurgeInside() {
  const std::vector<void *> blocks = MallocMany(2048, 10000);
  for (void *block : blocks) memset(block, 1, 2048);
  Look();
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i % 16 != 0) hz4_free(blocks[i]);
  }
  Look();
}

// To the limit and beyond.
inline void UseLimit() {
  hz4_sys_fake.now_ns = 1;
  hz4_free(hz4_malloc(2 * HZ4_GROWN_BYTES));  // what the container has is read now, and not later
  hz4_limit_set_container(512 * kMiB);
  HZ4_DEMAND(hz4_limit_set(32 * kMiB, 512 * kMiB) == 0);
  std::vector<void *> blocks = MallocMany(kMiB, 100);
  Look();
  HZ4_DEMAND(hz4_malloc(500 * kMiB) == nullptr);
  Look();
  FreeAll(blocks);
  HZ4_DEMAND(hz4_limit_set(8192 * kMiB, 16384 * kMiB) == 0);
}

inline void FailACall() { HZ4_DEMAND(hz4_malloc(PTRDIFF_MAX) == nullptr); }

inline void RunAll() {
  for (size_t size : {size_t{1024}, size_t{8192}}) {
    UseBins(size);
    UseInbox(size);
    Steal(size);
    OutliveTheCache(size);
  }
  UseSegments();
  UseLarge();
  UseHuge();
  FailACall();
  // And something of everything is left, so that no gauge is back at zero.
  for (size_t size : {size_t{1024}, size_t{8192}}) {
    const std::vector<void *> blocks = MallocMany(size, 3000);
    for (size_t i = 0; i < blocks.size(); i += 3) hz4_free(blocks[i]);
  }
  HZ4_DEMAND(hz4_malloc(5 * kMiB) != nullptr);
  hz4_free(hz4_malloc(3 * kMiB));
  FreeAll(MallocMany(30 * kMiB, 3));
  UseLimit();
  PurgeInside();
  Swing();
  UseShards(1024);
  UseShards(8192);
  FillInbox(1024);
}

// What makes the value of this name move; empty when nothing here does.
inline std::function<void()> ScenarioFor(const std::string &name) {
  const std::map<std::string, void (*)(size_t)> counters = {
      {"malloc_calls", UseBins},  {"free_calls", UseBins},    {"refill_calls", UseBins},
      {"refill_lock", UseBins},   {"refill_depot", UseBins},  {"refill_span", UseBins},
      {"refill_objects", UseBins}, {"span_opened", UseBins},  {"span_closed", UseBins},
      {"flush_calls", UseBins},   {"flush_objects", UseBins}, {"flush_lock", UseBins},
      {"bin_grow", UseBins},      {"bin_shrink", UseBins},    {"refill_inbox", UseInbox},
      {"inbox_push", UseInbox},   {"inbox_push_objects", UseInbox}, {"inbox_refused", UseInbox},
      {"inbox_batches", UseInbox}, {"inbox_spill", UseInbox}, {"refill_steal", Steal},
      {"direct_malloc", OutliveTheCache}, {"direct_free", OutliveTheCache},
      {"shard_lock", UseShards}, {"shard_objects", UseShards}};
  const std::pair<const char *, size_t> ranges[] = {{"small_", 1024}, {"mid_", 8192}};
  for (const auto &[prefix, size] : ranges) {
    if (name.rfind(prefix, 0) != 0) continue;
    const auto found = counters.find(name.substr(strlen(prefix)));
    if (found == counters.end()) return {};
    return [run = found->second, bytes = size] { run(bytes); };
  }
  const auto use_spans = [] { UseBins(1024), UseInbox(1024), UseSegments(); };
  const std::map<std::string, std::function<void()>> gauges = {
      {"inbox", [] { UseInbox(1024); }}, {"thread", [] { UseInbox(1024); }}, {"heap", [] { UseBins(1024); }},
      {"large", UseLarge},               {"segment", [] { UseSegments(), PurgeInside(), Swing(); }}, {"meta", [] { UseBins(1024); }},
      {"os", [] { UseLarge(), UseSegments(), UseHuge(), FailACall(); }}, {"resident", PurgeInside}, {"limit", UseLimit},
      {"allocated", use_spans}, {"cached", use_spans}, {"free", use_spans}, {"active", use_spans}, {"dirty", use_spans},
      {"retained", use_spans}, {"metadata", use_spans}, {"mapped", use_spans}};
  const auto found = gauges.find(name.substr(0, name.find('_')));
  return found == gauges.end() ? std::function<void()>() : found->second;
}

}  // namespace hz4_test

#endif  // HZ4_TEST_STATS_H_
