// The rules of hz4.h one by one: corner cases, errno, statistics, and the deaths that misuse must end in.
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "hz4/poison.h"
#include "hz4/test/heap.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr size_t kSizes[] = {0,      1,      16,      100,     1024,    4096,          30000,
                             262144, 262145, 1 << 20, 1048577, 5 << 20, (64 << 20) + 1};

TEST(ApiTest, EverySizeIsAlignedAndUsable) {
  uint64_t seed = 1;
  for (size_t size = 0; size <= 5000; size++) CheckAndFree(NewBlock(size, seed++));
  for (size_t size : kSizes) CheckAndFree(NewBlock(size, seed++));
  hz4_check();
}

TEST(ApiTest, VersionIsThatOfTheHeader) {
  const std::string numbers = std::to_string(HZ4_VERSION_MAJOR) + "." + std::to_string(HZ4_VERSION_MINOR) + "." +
                              std::to_string(HZ4_VERSION_PATCH);
  EXPECT_EQ(hz4_version(), numbers);
  EXPECT_EQ(HZ4_VERSION_STRING, numbers);
}

TEST(ApiTest, SizeZeroGivesUniqueBlocks) {
  std::set<void *> seen;
  for (size_t i = 0; i < 1000; i++) {
    for (void *ptr : {hz4_malloc(0), hz4_calloc(0, 8), hz4_calloc(8, 0), hz4_realloc(nullptr, 0)}) {
      ASSERT_NE(ptr, nullptr);
      EXPECT_EQ(hz4_malloc_usable_size(ptr), 0u);
      EXPECT_TRUE(seen.insert(ptr).second);
    }
  }
  for (void *ptr : seen) hz4_free(ptr);
}

TEST(ApiTest, SuccessKeepsErrno) {
  for (size_t size : kSizes) {
    errno = 1234;
    void *ptr = hz4_malloc(size);
    EXPECT_EQ(errno, 1234) << "malloc " << size;
    hz4_free(ptr);
    EXPECT_EQ(errno, 1234) << "free " << size;
    ptr = hz4_calloc(1, size);
    EXPECT_EQ(errno, 1234) << "calloc " << size;
    hz4_free_sized(ptr, size);
    EXPECT_EQ(errno, 1234) << "free_sized " << size;
    ptr = hz4_aligned_alloc(1 << 16, size);
    EXPECT_EQ(errno, 1234) << "aligned_alloc " << size;
    hz4_free_aligned_sized(ptr, 1 << 16, size);
    EXPECT_EQ(errno, 1234) << "free_aligned_sized " << size;
  }
  hz4_free(nullptr);
  hz4_free_sized(nullptr, 5);
  EXPECT_EQ(errno, 1234);
}

// Every size that no object may have, at every entry.
TEST(ApiTest, MoreThanPtrdiffMaxFails) {
  const Block block = NewBlock(100, 1);
  for (size_t size : {size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} + 1, size_t{PTRDIFF_MAX} + 2, SIZE_MAX - 65536,
                      SIZE_MAX - 65535, SIZE_MAX - 4096, SIZE_MAX - 4095, SIZE_MAX - 16, SIZE_MAX - 15, SIZE_MAX}) {
    const auto fails = [size](const char *entry, void *ptr) {
      EXPECT_EQ(ptr, nullptr) << entry << " " << size;
      EXPECT_EQ(errno, ENOMEM) << entry << " " << size;
      errno = 0;
    };
    errno = 0;
    fails("malloc", hz4_malloc(size));
    fails("calloc(1, n)", hz4_calloc(1, size));
    fails("calloc(n, 1)", hz4_calloc(size, 1));
    fails("realloc(NULL)", hz4_realloc(nullptr, size));
    fails("realloc", hz4_realloc(block.ptr, size));
    fails("aligned_alloc", hz4_aligned_alloc(16, size));
    fails("aligned_alloc of a MiB", hz4_aligned_alloc(1 << 20, size));
    fails("memalign", hz4_memalign(64, size));
    fails("valloc", hz4_valloc(size));
    fails("pvalloc", hz4_pvalloc(size));
    void *out = nullptr;
    EXPECT_EQ(hz4_posix_memalign(&out, 64, size), ENOMEM) << size;
    EXPECT_EQ(out, nullptr);
  }
  CheckAndFree(block);
  hz4_check();
}

TEST(ApiTest, CallocOverflowFails) {
  const std::pair<size_t, size_t> cases[] = {{SIZE_MAX, SIZE_MAX},
                                             {SIZE_MAX, 2},
                                             {2, SIZE_MAX},
                                             {SIZE_MAX / 2 + 1, 2},               // the product wraps to 0
                                             {size_t{1} << 32, size_t{1} << 32},  // and here
                                             {(size_t{1} << 32) + 1, (size_t{1} << 32) + 1},
                                             {SIZE_MAX / 8 + 2, 8},  // wraps to 8
                                             {PTRDIFF_MAX / 8 + 1, 8}};
  for (const auto &[count, size] : cases) {
    errno = 0;
    EXPECT_EQ(hz4_calloc(count, size), nullptr) << count << " times " << size;
    EXPECT_EQ(errno, ENOMEM) << count << " times " << size;
  }
}

TEST(ApiTest, UsableSizeOfNullIsZero) { EXPECT_EQ(hz4_malloc_usable_size(nullptr), 0u); }

TEST(ApiTest, TrimTellsWhetherAnythingWentBack) {
  std::vector<void *> blocks;
  for (size_t i = 0; i < 100000; i++) {
    blocks.push_back(hz4_malloc(80));
    ASSERT_NE(blocks.back(), nullptr);
    memset(blocks.back(), 1, 80);
  }
  for (void *ptr : blocks) hz4_free(ptr);
  EXPECT_EQ(hz4_malloc_trim(0), 1);
  EXPECT_EQ(hz4_malloc_trim(0), 0);
  // The trimmed memory is as good as any.
  for (size_t i = 0; i < blocks.size(); i++) blocks[i] = NewBlock(80, i).ptr;
  for (size_t i = 0; i < blocks.size(); i++)
    CheckPattern({nullptr, 80, 80, 0, i}, static_cast<unsigned char *>(blocks[i]), 80);
  for (void *ptr : blocks) hz4_free(ptr);
  hz4_check();
}

// Enough of RFC 8259 to tell JSON from text that only looks like it.
class JsonReader {
 public:
  explicit JsonReader(const std::string &text) : text_(text) {}
  bool Valid() { return Value() && (Space(), at_ == text_.size()); }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool Eat(char c) {
    Space();
    if (Peek() != c) return false;
    at_++;
    return true;
  }
  void Space() {
    while (at_ < text_.size() && strchr(" \t\r\n", text_[at_]) != nullptr) at_++;
  }
  bool Text() {
    if (!Eat('"')) return false;
    for (; Peek() != '"'; at_++) {
      if (static_cast<unsigned char>(Peek()) < 0x20) return false;
      if (Peek() == '\\') at_++;
    }
    return Eat('"');
  }
  bool Number() {
    const size_t start = at_;
    while (Peek() != '\0' && strchr("+-.eE0123456789", Peek()) != nullptr) at_++;
    const std::string digits = text_.substr(start, at_ - start);
    char *end = nullptr;
    strtod(digits.c_str(), &end);
    const size_t sign = digits[0] == '-';
    return end == digits.c_str() + digits.size() && digits.size() > sign &&
           !(digits[sign] == '0' && digits.size() > sign + 1 && isdigit(digits[sign + 1]));
  }
  bool List(char open, char close, bool named) {
    if (!Eat(open)) return false;
    if (Eat(close)) return true;
    do {
      if (named && !(Text() && Eat(':'))) return false;
      if (!Value()) return false;
    } while (Eat(','));
    return Eat(close);
  }
  bool Value() {
    Space();
    if (Peek() == '{') return List('{', '}', true);
    if (Peek() == '[') return List('[', ']', false);
    if (Peek() == '"') return Text();
    for (const char *word : {"true", "false", "null"}) {
      if (text_.compare(at_, strlen(word), word) == 0) return at_ += strlen(word), true;
    }
    return Number();
  }

  const std::string &text_;
  size_t at_ = 0;
};

TEST(StatsTest, JsonIsValidAndBehavesLikeSnprintf) {
  hz4_free(hz4_malloc(100));
  std::string text(hz4_stats_json(nullptr, 0) + 4096, '#');
  const size_t length = hz4_stats_json(&text[0], text.size());
  ASSERT_LT(length, text.size());
  EXPECT_EQ(strlen(text.c_str()), length);
  EXPECT_EQ(text[length + 1], '#') << "written beyond the final NUL";
  text.resize(length);
  EXPECT_EQ(text[0], '{');
  EXPECT_TRUE(JsonReader(text).Valid()) << text;

  // Reading allocates nothing, so the text stays the same, but for the last value, what of the process is in memory, which may
  // gain or lose a digit; cut short, it is the same text's beginning.
  const size_t same = text.find("\"resident_bytes\"");
  for (size_t size : {size_t{1}, size_t{2}, size_t{17}, length / 2, length, length + 1}) {
    std::string cut(length + 8, '#');
    const size_t now = hz4_stats_json(&cut[0], size);
    EXPECT_LE(now > length ? now - length : length - now, 1u);
    EXPECT_EQ(strlen(cut.c_str()), std::min(now, size - 1));
    EXPECT_EQ(cut.substr(0, std::min(same, size - 1)), text.substr(0, std::min(same, size - 1)));
    EXPECT_EQ(cut[size], '#') << "written beyond size " << size;
  }
}

TEST(StatsTest, CountersByName) {
  hz4_free(hz4_malloc(100));
  EXPECT_EQ(hz4_stats_get("no_such_counter"), UINT64_MAX);
  EXPECT_EQ(hz4_stats_get(""), UINT64_MAX);
  EXPECT_EQ(hz4_stats_get("refill_call"), UINT64_MAX) << "a name's beginning is not the name";
  const uint64_t refills = hz4_stats_get("refill_calls");
  ASSERT_NE(refills, UINT64_MAX);
  const uint64_t mmaps = hz4_stats_get("os_mmap_calls");
  ASSERT_NE(mmaps, UINT64_MAX);
  EXPECT_GT(mmaps, 0u);
  std::vector<void *> blocks;
  for (size_t i = 0; i < 20000; i++) blocks.push_back(hz4_malloc(1000));
  EXPECT_GT(hz4_stats_get("refill_calls"), refills);
  for (void *ptr : blocks) hz4_free(ptr);
}

std::string Printed(void (*print)(int)) {
  FILE *file = tmpfile();
  print(fileno(file));
  std::string text(1 << 20, '\0');
  rewind(file);
  text.resize(fread(&text[0], 1, text.size(), file));
  fclose(file);
  return text;
}

TEST(StatsTest, TextForms) {
  for (const std::string &text : {Printed(hz4_stats_print), Printed(hz4_options_print)}) {
    ASSERT_FALSE(text.empty());
    EXPECT_EQ(text.back(), '\n');
    EXPECT_EQ(text.find('\0'), std::string::npos);
  }
  hz4_stats_print(-1);  // cannot be written: nothing happens
  hz4_options_print(-1);
}

// Misuse ends in a report on stderr, whose line names the pointer, and in abort().
void ExpectDeath(void (*misuse)(void *), void *ptr) {
  char line[200];
  snprintf(line, sizeof line, "^hz4: [^\n]*0x0*%" PRIxPTR "[^0-9a-f\n]?[^\n]*" HZ4_TEST_LAST_LINE_END, reinterpret_cast<uintptr_t>(ptr));
  EXPECT_EXIT(misuse(ptr), ::testing::KilledBySignal(SIGABRT), line);
}
void FreeIt(void *ptr) { hz4_free(ptr); }
void FreeItSized(void *ptr) { hz4_free_sized(ptr, 100); }
void ReallocIt(void *ptr) { hz4_realloc(ptr, 500); }
void ReallocItToZero(void *ptr) { hz4_realloc(ptr, 0); }

using ApiDeathTest = ::testing::TestWithParam<void (*)(void *)>;

TEST_P(ApiDeathTest, ForeignPointers) {
  hz4_free(hz4_malloc(1));
  alignas(4096) static char in_static_memory[8192];
  alignas(16) char on_the_stack[64];
  ExpectDeath(GetParam(), in_static_memory);
  ExpectDeath(GetParam(), on_the_stack);
  for (size_t size : {100, 5000, 1 << 22}) {
    void *from_libc = malloc(size);
    ExpectDeath(GetParam(), from_libc);
    free(from_libc);
  }
  void *mapped = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  ExpectDeath(GetParam(), mapped);
  munmap(mapped, 1 << 20);
  ExpectDeath(GetParam(), mapped);
}

TEST_P(ApiDeathTest, AddressesThatNoProcessHas) {
  for (uintptr_t address : {uintptr_t{1}, uintptr_t{16}, uintptr_t{65536}, uintptr_t{1} << 47, uintptr_t{1} << 48,
                            uintptr_t{1} << 57, uintptr_t{1} << 63, UINTPTR_MAX - 15, UINTPTR_MAX}) {
    ExpectDeath(GetParam(), reinterpret_cast<void *>(address));
  }
}

void ExpectDeathInside(void (*misuse)(void *), size_t size) {
  auto *block = static_cast<char *>(hz4_malloc(size));
  ASSERT_NE(block, nullptr);
  for (size_t offset : {size_t{1}, size_t{8}, size_t{16}, size / 2 / 16 * 16}) ExpectDeath(misuse, block + offset);
  hz4_free(block);
}
TEST_P(ApiDeathTest, PointersIntoALargeBlock) {
  for (size_t size : {300000, 3 << 20}) ExpectDeathInside(GetParam(), size);
}
// A cache takes such a pointer as it comes; it is found out when it goes home to its span, at the latest when the caches
// are emptied. With HZ4_HARDEN=1 (api_harden_test) the call itself dies.
TEST_P(ApiDeathTest, PointersIntoABlockOfASizeClass) {
  static void (*misuse)(void *);
  misuse = GetParam();
  const auto misuse_and_trim = [](void *ptr) {
    misuse(ptr);
    if (getenv("HZ4_HARDEN") == nullptr) hz4_malloc_trim(0);
  };
  for (size_t size : {64, 1000, 40000}) ExpectDeathInside(misuse_and_trim, size);
}
TEST_P(ApiDeathTest, BlockOfASizeClassThatWasFreed) {
  static void (*misuse)(void *);
  misuse = GetParam();
  const auto misuse_and_trim = [](void *ptr) {
    misuse(ptr);
    if (getenv("HZ4_HARDEN") == nullptr) hz4_malloc_trim(0);
  };
  if (misuse == ReallocIt) GTEST_SKIP() << "the copy is freed again only after the old block was read";
  for (size_t size : {64, 1000, 40000}) {
    void *neighbour = hz4_malloc(size);  // so that the span outlives the block
    void *block = hz4_malloc(size);
    hz4_free(block);
    if (HZ4_POISON) EXPECT_DEATH(misuse_and_trim(block), "AddressSanitizer: use-after-poison");
    else ExpectDeath(misuse_and_trim, block);
    hz4_free(neighbour);
  }
}

TEST_P(ApiDeathTest, LargeBlockThatWasFreed) {
  void *block = hz4_malloc(3 << 20);
  ASSERT_NE(block, nullptr);
  hz4_free(block);
  ExpectDeath(GetParam(), block);
}

INSTANTIATE_TEST_SUITE_P(Misuse, ApiDeathTest, ::testing::Values(FreeIt, FreeItSized, ReallocIt, ReallocItToZero));

}  // namespace
}  // namespace hz4_test
