// The heap profile, from samples that are made up: sums by site, what is due when, files in both formats, and what is never
// written. //hz4/env:profile_test has real samples, and other people's readers.
#include "hz4/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "hz4/file.h"
#include "hz4/maps.h"
#include "hz4/options.h"
#include "hz4/sample.h"

namespace {

constexpr size_t kMean = 1000;

// What the sampler would tell of a block of `size` bytes from this stack, that stands for so many bytes.
struct Made {
  hz4_sample sample = {};
  Made(size_t size, uint64_t weight, const std::vector<uintptr_t> &stack) {
    sample.size = sample.usable = size;
    sample.weight[HZ4_SAMPLE_PROFILE] = weight;
    sample.stack_depth = static_cast<uint32_t>(stack.size());
    memcpy(sample.stack, stack.data(), stack.size() * sizeof(stack[0]));
    hz4_profile_hooks.on_alloc(&sample);
  }
  void Free() { hz4_profile_hooks.on_free(&sample); }
};

const hz4_profile_site *Find(const std::vector<uintptr_t> &stack) {
  for (hz4_profile_site *site = nullptr; (site = hz4_profile_next(site)) != nullptr;) {
    if (std::vector<uintptr_t>(site->stack, site->stack + site->depth) == stack) return site;
  }
  return nullptr;
}

class Profile : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(hz4_profile_begin(kMean), 0);
    const char *directory = getenv("TEST_TMPDIR");
    directory_ = std::string(directory != nullptr ? directory : "/tmp") + "/profile_XXXXXX";
    ASSERT_NE(mkdtemp(&directory_[0]), nullptr);
  }
  void TearDown() override {
    hz4_option = defaults_;
    hz4_profile_end();
  }
  void SetPrefix(const std::string &prefix) {
    ASSERT_LT(prefix.size(), sizeof(hz4_option.profile));
    strcpy(hz4_option.profile, prefix.c_str());
  }
  std::string Name(const std::string &rest) const {
    return directory_ + "/p." + std::to_string(getpid()) + "." + rest;
  }
  static std::string Read(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
  }
  std::string directory_;
  hz4_option_values defaults_ = hz4_option;
};

TEST_F(Profile, SumsBySite) {
  const std::vector<uintptr_t> a = {0x1001, 0x2002}, b = {0x1001, 0x2003}, c = {0x1001};
  Made a1(10, 1000, a), a2(20, 1010, a), b1(2000, 2300, b), c1(16, 1008, c);
  const hz4_profile_site *site = Find(a);
  ASSERT_NE(site, nullptr);
  EXPECT_EQ(hz4_profile_objects(site->allocated_parts), 151u);  // 100 and 50.5
  EXPECT_EQ(site->allocated_bytes, 2010u);
  EXPECT_EQ(site->live_bytes, 2010u);
  ASSERT_NE(Find(b), nullptr);
  EXPECT_EQ(hz4_profile_objects(Find(b)->live_parts), 1u);  // 1.15
  a1.Free();
  EXPECT_EQ(site->live_bytes, 1010u);
  EXPECT_EQ(site->allocated_bytes, 2010u);
  a2.Free();
  EXPECT_EQ(site->live_bytes, 0u);
  EXPECT_EQ(site->live_parts, 0u);
  b1.Free();
  c1.Free();
}

TEST_F(Profile, SumsOfThreadsAddUp) {
  constexpr int kThreads = 4, kRounds = 2000, kSites = 50;
  std::vector<std::thread> threads;
  std::vector<Made> kept[kThreads];
  for (std::vector<Made> &mine : kept) {
    threads.emplace_back([&mine] {
      for (int i = 0; i < kRounds; ++i) {
        Made made(100, 1050, {0x5000, static_cast<uintptr_t>(0x6000 + i % kSites)});
        if (i % 2 == 0) made.Free();
        else mine.push_back(made);
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  int sites = 0;
  for (hz4_profile_site *site = nullptr; (site = hz4_profile_next(site)) != nullptr;) {
    if (site->depth == 0 || site->stack[0] != 0x5000) continue;
    ++sites;
    EXPECT_EQ(site->allocated_bytes, 1050u * kThreads * kRounds / kSites);
    EXPECT_EQ(site->live_bytes, site->stack[1] % 2 == 0 ? 0u : 1050u * kThreads * kRounds / kSites);
  }
  EXPECT_EQ(sites, kSites) << "each once";
  for (std::vector<Made> &all : kept) {
    for (Made &made : all) made.Free();
  }
}

// ---- files ----

// As much of profile.proto as is needed here: fields by their number, in order.
struct Message {
  std::multimap<int, std::string> bytes;
  std::multimap<int, uint64_t> numbers;
};

uint64_t Varint(const std::string &text, size_t *at) {
  uint64_t value = 0;
  for (int shift = 0; *at < text.size(); shift += 7) {
    uint8_t byte = static_cast<uint8_t>(text[(*at)++]);
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) break;
  }
  return value;
}

Message Parse(const std::string &text) {
  Message m;
  for (size_t at = 0; at < text.size();) {
    uint64_t key = Varint(text, &at), value = Varint(text, &at);
    if ((key & 7) == 0) {
      m.numbers.emplace(key >> 3, value);
    } else {
      EXPECT_EQ(key & 7, 2u);
      EXPECT_LE(value, text.size() - at);
      m.bytes.emplace(key >> 3, text.substr(at, value));
      at += value;
    }
  }
  return m;
}

std::vector<uint64_t> Numbers(const std::string &packed) {
  std::vector<uint64_t> all;
  for (size_t at = 0; at < packed.size();) all.push_back(Varint(packed, &at));
  return all;
}

std::vector<std::string> All(const Message &m, int field) {
  std::vector<std::string> all;
  for (auto [at, end] = m.bytes.equal_range(field); at != end; ++at) all.push_back(at->second);
  return all;
}

TEST_F(Profile, IsAFileOfPprofs) {
  const uintptr_t here = reinterpret_cast<uintptr_t>(&Find);
  Made live(100, 2000, {here + 5, here + 9}), freed(100, 3000, {here + 7});
  freed.Free();
  const std::string path = directory_ + "/a.pb";
  ASSERT_EQ(hz4_profile_save(path.c_str(), HZ4_PROFILE_FORMAT_PPROF), 0);
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(Read(path)[0], '\n') << "the field that hz4's command knows a profile by";
  Message profile = Parse(Read(path));
  const std::vector<std::string> strings = All(profile, 6);
  ASSERT_FALSE(strings.empty());
  EXPECT_EQ(strings[0], "");
  std::vector<std::string> types;
  for (const std::string &type : All(profile, 1)) types.push_back(strings.at(Parse(type).numbers.find(1)->second));
  EXPECT_EQ(types, (std::vector<std::string>{"alloc_objects", "alloc_space", "inuse_objects", "inuse_space", "held_space"}));
  EXPECT_EQ(profile.numbers.find(12)->second, kMean);
  // Each location once, at the call, in the mapping of this program, which is the first.
  std::map<uint64_t, Message> locations, mappings;
  for (const std::string &text : All(profile, 4)) {
    Message location = Parse(text);
    EXPECT_TRUE(locations.emplace(location.numbers.find(1)->second, location).second);
  }
  for (const std::string &text : All(profile, 3)) {
    Message mapping = Parse(text);
    mappings.emplace(mapping.numbers.find(1)->second, mapping);
  }
  ASSERT_EQ(locations.count(here + 5), 1u);
  EXPECT_EQ(locations[here + 5].numbers.find(3)->second, here + 4);
  ASSERT_EQ(locations[here + 5].numbers.count(2), 1u);
  Message &mapping = mappings[locations[here + 5].numbers.find(2)->second];
  EXPECT_LE(mapping.numbers.find(2)->second, here);
  EXPECT_GT(mapping.numbers.find(3)->second, here);
  char self[4096] = {};
  ASSERT_GT(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
  EXPECT_EQ(strings.at(mapping.numbers.find(5)->second), self);
  EXPECT_EQ(mapping.numbers.find(1)->second, 1u);
  std::map<std::vector<uint64_t>, std::vector<uint64_t>> samples;
  for (const std::string &text : All(profile, 2)) {
    Message sample = Parse(text);
    samples[Numbers(sample.bytes.find(1)->second)] = Numbers(sample.bytes.find(2)->second);
  }
  EXPECT_EQ((samples[{here + 5, here + 9}]), (std::vector<uint64_t>{20, 2000, 20, 2000, 0}));
  EXPECT_EQ((samples[{here + 7}]), (std::vector<uint64_t>{30, 3000, 0, 0, 0}));
  live.Free();
}

// A reader of the text scales each line by the chance of its mean object.
TEST_F(Profile, IsTextThatReadersScale) {
  const std::vector<uintptr_t> stack = {0x7001, 0x7002};
  std::vector<Made> all;
  const double chance = 1 - std::exp(-100.0 / kMean);
  for (int i = 0; i < 30; ++i) all.emplace_back(100, static_cast<uint64_t>(100 / chance + 0.5), stack);
  const std::string path = directory_ + "/a.heap";
  ASSERT_EQ(hz4_profile_save(path.c_str(), HZ4_PROFILE_FORMAT_TEXT), 0);
  const std::string text = Read(path);
  EXPECT_EQ(text.find("heap profile: "), 0u);
  EXPECT_NE(text.find("] @ heap_v2/1000\n"), std::string::npos) << text;
  EXPECT_NE(text.find("30: 3000 [30: 3000] @ 0x7001 0x7002\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\nMAPPED_LIBRARIES:\n"), std::string::npos);
  EXPECT_NE(text.find("[stack]"), std::string::npos);
  for (Made &made : all) made.Free();
}

TEST_F(Profile, IsWholeOrNotThere) {
  Made made(100, 2000, {0x8001});
  EXPECT_EQ(hz4_profile_save((directory_ + "/none/a.pb").c_str(), HZ4_PROFILE_FORMAT_PPROF), ENOENT);
  EXPECT_EQ(hz4_profile_save(nullptr, HZ4_PROFILE_FORMAT_PPROF), EINVAL) << "no prefix";
  EXPECT_EQ(hz4_profile_save(std::string(5000, 'a').c_str(), HZ4_PROFILE_FORMAT_PPROF), ENAMETOOLONG);
  // A link stays, and is not followed; one at the place of the file while it is written is replaced.
  const std::string victim = directory_ + "/victim", path = directory_ + "/a.pb";
  std::ofstream(victim) << "whole";
  ASSERT_EQ(symlink(victim.c_str(), path.c_str()), 0);
  EXPECT_EQ(hz4_profile_save(path.c_str(), HZ4_PROFILE_FORMAT_PPROF), EEXIST);
  struct stat status;
  ASSERT_EQ(lstat(path.c_str(), &status), 0);
  EXPECT_TRUE(S_ISLNK(status.st_mode));
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_EQ(hz4_profile_save(directory_.c_str(), HZ4_PROFILE_FORMAT_PPROF), EEXIST) << "a folder";
  ASSERT_EQ(symlink(victim.c_str(), (path + ".part").c_str()), 0);
  ASSERT_EQ(hz4_profile_save(path.c_str(), HZ4_PROFILE_FORMAT_PPROF), 0);
  EXPECT_EQ(Read(victim), "whole");
  EXPECT_NE(access((path + ".part").c_str(), F_OK), 0);
  // Where there is no room the old one stays.
  const std::string before = Read(path);
  rlimit limit, tight;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  tight = {16, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  signal(SIGXFSZ, SIG_IGN);
  int error = hz4_profile_save(path.c_str(), HZ4_PROFILE_FORMAT_PPROF);
  setrlimit(RLIMIT_FSIZE, &limit);
  EXPECT_EQ(error, EFBIG);
  EXPECT_EQ(Read(path), before);
  EXPECT_NE(access((path + ".part").c_str(), F_OK), 0);
  made.Free();
}

TEST_F(Profile, HasANewNameEachTimeAndInAChild) {
  SetPrefix(directory_ + "/p");
  Made made(100, 2000, {0x9001});
  ASSERT_EQ(hz4_profile_save(nullptr, HZ4_PROFILE_FORMAT_PPROF), 0);
  ASSERT_EQ(hz4_profile_save(nullptr, HZ4_PROFILE_FORMAT_TEXT), 0);
  hz4_profile_write_due(HZ4_PROFILE_DUE_EXIT);
  EXPECT_EQ(access(Name("exit.pb").c_str(), F_OK), 0);
  pid_t child = fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    made.Free();
    hz4_profile_write_due(HZ4_PROFILE_DUE_EXIT);
    bool as_it_should = access(Name("exit.pb").c_str(), F_OK) == 0 && Find({0x9001})->allocated_bytes == 2000 &&
                        Find({0x9001})->live_bytes == 0;
    _exit(as_it_should ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Find({0x9001})->live_bytes, 2000u);
  made.Free();
}

TEST_F(Profile, IsDueEverySoManyBytesAndAtPeaks) {
  SetPrefix(directory_ + "/p");
  hz4_option.profile_every_bytes = 10000000;
  hz4_option.profile_peak = 1;
  Made first(100, 5000000, {0xa001});
  EXPECT_EQ(access(Name("peak.pb").c_str(), F_OK), 0);
  unlink(Name("peak.pb").c_str());
  first.Free();
  Made lower(100, 4000000, {0xa001});
  EXPECT_NE(access(Name("peak.pb").c_str(), F_OK), 0) << "live memory was higher before";
  Made higher(100, 4000000, {0xa001});
  EXPECT_EQ(access(Name("peak.pb").c_str(), F_OK), 0);
  int numbered = 0;
  for (int i = 0; i < 20; ++i) {
    char digits[8];
    snprintf(digits, sizeof(digits), "%04d", i);
    numbered += access(Name(std::string(digits) + ".pb").c_str(), F_OK) == 0;
  }
  EXPECT_GE(numbered, 1) << "13 million bytes were allocated";
  EXPECT_LE(numbered, 2);
  lower.Free();
  higher.Free();
}

TEST_F(Profile, NamesWhatIsStillAllocated) {
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  Made large(1000, 3000000, {reinterpret_cast<uintptr_t>(&malloc) + 1, 0xb001});
  ASSERT_TRUE(hz4_profile_report_leaks(pipes[1]));
  close(pipes[1]);
  char text[16384] = {};
  ASSERT_GT(read(pipes[0], text, sizeof(text) - 1), 0);
  close(pipes[0]);
  EXPECT_NE(strstr(text, "hz4: about 3,000,000 bytes in 3,000 objects from\n    #0 0x"), nullptr) << text;
  EXPECT_NE(strstr(text, "    #1 0xb001\n"), nullptr) << text;
  large.Free();
  EXPECT_FALSE(hz4_profile_report_leaks(-1));
}

TEST(File, IsNoStandardStream) {
  const std::string path = std::string(getenv("TEST_TMPDIR")) + "/standard", fresh = path + "~";
  const int input = dup(STDIN_FILENO);
  close(STDIN_FILENO);
  char buffer[16];
  struct hz4_writer w = {buffer, sizeof(buffer), 0, 0, -1, 0};
  EXPECT_EQ(hz4_file_begin(&w, fresh.c_str(), path.c_str(), 0600), 0);
  EXPECT_GT(w.fd, STDERR_FILENO);
  EXPECT_EQ(fcntl(STDIN_FILENO, F_GETFD), -1);
  EXPECT_EQ(fcntl(w.fd, F_GETFD), FD_CLOEXEC);
  hz4_put(&w, "text");
  EXPECT_EQ(hz4_file_end(&w, fresh.c_str(), path.c_str()), 0);
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  dup2(input, STDIN_FILENO);
  close(input);
}

TEST(Maps, HaveBuildIdsAndWhatIsMapped) {
  struct Seen {
    bool stack = false, code = false;
    std::string build_id;
  } seen;
  hz4_maps_read(
      [](void *context, const char *line, const hz4_map *map) {
        Seen *seen = static_cast<Seen *>(context);
        const uintptr_t here = reinterpret_cast<uintptr_t>(&Find);
        seen->stack |= strstr(line, "[stack]") != nullptr && strcmp(map->path, "[stack]") == 0 && !map->is_code;
        if (!map->is_code || here < map->start || here >= map->end) return;
        seen->code = true;
        EXPECT_NE(map->image, 0u);
        char id[HZ4_BUILD_ID_TEXT_BYTES];
        if (hz4_maps_build_id(map, id)) seen->build_id = id;
      },
      &seen);
  EXPECT_TRUE(seen.stack);
  EXPECT_TRUE(seen.code);
  EXPECT_EQ(seen.build_id.find_first_not_of("0123456789abcdef"), std::string::npos);
}

}  // namespace
