// Threads that only allocate, and threads that only free: what hz4 holds beyond what is live stays below the formula of
// docs/design.md ("Memory bounds"), which is computed here from config.h's constants.
//
// Rounds: the producers allocate, the consumers free, and the same number of objects waits in the queues at the end of
// each. Then all threads stand still, and every bound holds exactly.
#include <pthread.h>

#include <algorithm>
#include <deque>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "hz4/config.h"
#include "hz4/hz4.h"
#include "hz4/inbox.h"
#include "hz4/options.h"
#include "hz4/sizeclass.h"
#include "hz4/span.h"
#include "hz4/tcache.h"
#include "hz4/test/memory.h"

namespace hz4_test {
namespace {

constexpr size_t kRounds = kSanitized ? 20 : 200;
constexpr size_t kWaitingBytes = 8 * kMiB;  // in each queue
constexpr size_t kRoundBytes = 8 * kMiB;    // from each producer in each round
constexpr size_t kRoundObjects = 30000;     // but no more objects than this
constexpr size_t kProcessBytes = kMiB;      // beside hz4's: stacks, and what libc keeps

struct Shape {
  size_t producers, consumers, bytes;
};
void PrintTo(const Shape &one, std::ostream *out) {
  *out << one.producers << " to " << one.consumers << ", " << one.bytes << " bytes";
}

bool ByCpu() {
  hz4_free(hz4_malloc(1));  // so that it is decided
  return hz4_stats_get("thread_by_cpu") != 0;
}

// In bytes of objects, for one size class, of which at most `live_most` objects live at once.
struct Bounds {
  Bounds(size_t size_class, size_t producers, size_t consumers, size_t live_most) {
    const size_t threads = producers + consumers;
    const struct hz4_class_info &info = hz4_class_table[size_class];
    const size_t object = info.object_bytes;
    batch = info.bin_slots_max / 2 * object;
    const size_t most = object <= HZ4_BIN_ONE_WAY_OBJECT_MAX ? HZ4_BIN_ONE_WAY_BYTES : HZ4_BIN_FIRST_BYTES;
    size_t bin = std::max(object, std::min(most, (info.bin_slots_max - 1) * object));
    size_t inbox = std::min(HZ4_INBOX_BATCHES_MAX * HZ4_BATCH_OBJECTS * object, HZ4_INBOX_BYTES_MAX);
    if (object > HZ4_INBOX_OBJECT_MAX) inbox = 0;
    cached = threads * bin + producers * inbox;  // what is freed is sent to those who allocate it
    size_t slots = HZ4_BIN_SLOTS_MAX;
    if (ByCpu()) {
      // A CPU's cache serves all who come to it: its bin is used both ways, and others send to it. There are as many as
      // threads that ran at once.
      slots = std::max<size_t>(info.bin_slots_max, std::min<size_t>(HZ4_BIN_SLOTS_ALONE, HZ4_BIN_ALONE_BYTES / object + 1));
      bin = (slots - 1) * object;
      cached = (threads + 1) * (bin + inbox);
    }
    // At most 1 of 2^SHIFT of what is out is in the depot: so 1 of 2^SHIFT - 1 of the rest.
    const size_t rest = live_most * object + cached;
    depot = std::max(rest / ((1 << HZ4_DEPOT_SHARE_SHIFT) - 1), HZ4_DEPOT_ALLOWANCE_BYTES);
    depot = std::min(depot, HZ4_DEPOT_OBJECTS_MAX * object) + batch;
    // A span is opened when no other has a free object: so all but one were full when the most was out.
    const size_t spans_most = (rest + depot) / object / info.span_objects + 1 + 1;
    spans = spans_most * info.span_pages * HZ4_PAGE_BYTES;
    dirty = (hz4_option.dirty_kib << 10) + (spans >> hz4_option.dirty_shift);
    // Arrays double, and the smaller one is kept for others.
    const size_t batches = HZ4_BATCH_CACHE + HZ4_INBOX_BATCHES_MAX, pointer = sizeof(void *);
    meta = (threads + 1) * (sizeof(struct hz4_tcache) + batches * sizeof(struct hz4_batch) + 2 * slots * pointer) +
           spans_most * (sizeof(struct hz4_span) + info.span_objects / 8 + HZ4_META_UNIT) + 4 * depot / object * pointer;
  }
  size_t batch, cached, depot, spans, dirty, meta;
};

class OneSidedTest : public ::testing::TestWithParam<Shape> {
 protected:
  OneSidedTest()
      : class_(hz4_class_of_size(GetParam().bytes)),
        object_(hz4_class_bytes(class_)),
        waiting_(kWaitingBytes / object_),
        room_(waiting_ + waiting_ / 4 + 1),
        queue_count_(GetParam().producers * GetParam().consumers),
        sent_(std::min(kRoundBytes / object_, kRoundObjects) / GetParam().consumers),
        threads_count_(GetParam().producers + GetParam().consumers),
        table_(queue_count_ * room_),
        bounds_(class_, GetParam().producers, GetParam().consumers, queue_count_ * room_ + threads_count_) {
    for (size_t i = 0; i < queue_count_; ++i) queues_.emplace_back(&table_[i * room_], room_);
    pthread_barrier_init(&barrier_, nullptr, static_cast<unsigned>(threads_count_ + 1));
  }
  ~OneSidedTest() override { pthread_barrier_destroy(&barrier_); }

  void Await() { pthread_barrier_wait(&barrier_); }

  // One object to each consumer in turn: in the first round also those that will wait, after the last one none.
  void Produce(size_t producer) {
    const size_t consumers = GetParam().consumers;
    for (size_t round = 0; round <= kRounds; ++round) {
      Await();
      for (size_t i = 0; i < (round == kRounds ? 0 : round == 0 ? sent_ + waiting_ : sent_); ++i) {
        for (size_t consumer = 0; consumer < consumers; ++consumer) {
          auto *block = static_cast<char *>(hz4_malloc(GetParam().bytes));
          if (block == nullptr) abort();
          for (size_t at = 0; at < object_; at += 4096) block[at] = 1;
          queues_[producer * consumers + consumer].Push(block);
        }
      }
      Await();
    }
    Await();
  }

  // As many from each producer: after the last round all that waits.
  void Consume(size_t consumer) {
    const size_t consumers = GetParam().consumers;
    for (size_t round = 0; round <= kRounds; ++round) {
      Await();
      for (size_t i = 0; i < (round == kRounds ? waiting_ : sent_); ++i) {
        for (size_t producer = 0; producer < GetParam().producers; ++producer) {
          hz4_free(queues_[producer * consumers + consumer].Pop());
        }
      }
      Await();
    }
    Await();
  }

  // pre: all threads stand still, and this many objects wait.
  void Check(size_t live) {
    const size_t spans = hz4_stats_get("heap_spans"), depot = hz4_stats_get("heap_depot_bytes");
    const size_t span_bytes = hz4_stats_get("heap_span_bytes");
    const size_t out = spans * hz4_class_table[class_].span_objects * object_ - hz4_stats_get("heap_free_bytes");
    ASSERT_GE(out, depot + live * object_);
    most_cached_ = std::max(most_cached_, out - depot - live * object_);
    most_depot_ = std::max(most_depot_, depot);
    most_spans_ = std::max(most_spans_, span_bytes);
    // What thrashing kept goes when that has ended, HZ4_PURGE_BYTES with each call: so some may still be there.
    const size_t dirty = hz4_stats_get("segment_dirty_bytes");
    most_refaulted_ = std::max<size_t>(most_refaulted_, hz4_stats_get("segment_refaulted_bytes"));
    most_dirty_ = std::max(most_dirty_, dirty - std::min(dirty, most_refaulted_));
    const size_t meta = hz4_stats_get("meta_used_bytes");  // it may fall as well
    most_meta_ = std::max(most_meta_, meta - std::min(meta, meta_));
    most_resident_ = std::max(most_resident_, ResidentBytes());
    EXPECT_EQ(hz4_stats_get("segment_used_bytes"), span_bytes) << "of no other use";
    EXPECT_LE(depot, std::max(out >> HZ4_DEPOT_SHARE_SHIFT, HZ4_DEPOT_ALLOWANCE_BYTES) + bounds_.batch);
  }

  void Expect(const char *what, size_t most, size_t bound) {
    printf("%s: %zu KiB of at most %zu\n", what, most / kKiB, bound / kKiB);
    EXPECT_LE(most, bound) << what;
  }

  const uint32_t class_;
  const size_t object_, waiting_, room_, queue_count_, sent_, threads_count_;
  PointerTable table_;
  const Bounds bounds_;
  std::deque<Queue> queues_;
  pthread_barrier_t barrier_;
  size_t meta_ = 0;
  size_t most_cached_ = 0, most_depot_ = 0, most_spans_ = 0, most_dirty_ = 0, most_meta_ = 0, most_resident_ = 0;
  size_t most_refaulted_ = 0;
};

TEST_P(OneSidedTest, HoldsNoMoreThanTheFormula) {
  hz4_malloc_trim(0);
  ASSERT_EQ(hz4_stats_get("heap_spans"), 0u);
  meta_ = hz4_stats_get("meta_used_bytes");
  const size_t resident = ResidentBytes();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < GetParam().producers; ++i) threads.emplace_back([this, i] { Produce(i); });
  for (size_t i = 0; i < GetParam().consumers; ++i) threads.emplace_back([this, i] { Consume(i); });
  for (size_t round = 0; round <= kRounds; ++round) {
    Await();
    Await();
    Check(round < kRounds ? queue_count_ * waiting_ : 0);
  }
  Await();
  for (std::thread &thread : threads) thread.join();
  Expect("bins and inboxes", most_cached_, bounds_.cached);
  Expect("depot", most_depot_, bounds_.depot);
  Expect("spans", most_spans_, bounds_.spans);
  Expect("dirty pages", most_dirty_, bounds_.dirty);
  Expect("refaulted", most_refaulted_, hz4_stats_get("segment_peak_used_bytes"));
  Expect("metadata", most_meta_, bounds_.meta);
  if (!ResidentIsOurs()) {
    puts("SKIPPED: resident bytes are the sanitizer's, or qemu's");
  } else {
    const size_t bound = bounds_.spans + bounds_.dirty + most_refaulted_ + bounds_.meta + kProcessBytes;
    Expect("resident", most_resident_ - resident, bound);
  }
  hz4_check();
}

INSTANTIATE_TEST_SUITE_P(Shapes, OneSidedTest,
                         ::testing::ValuesIn([] {
                           std::vector<Shape> shapes;
                           for (size_t bytes : {size_t{64}, kKiB, 32 * kKiB, 200 * kKiB}) {
                             for (auto [producers, consumers] : {std::pair(1, 1), std::pair(1, 3), std::pair(3, 1)}) {
                               shapes.push_back({static_cast<size_t>(producers), static_cast<size_t>(consumers), bytes});
                             }
                           }
                           return shapes;
                         }()),
                         [](const auto &info) {
                           return std::to_string(info.param.producers) + "To" + std::to_string(info.param.consumers) +
                                  "Of" + std::to_string(info.param.bytes);
                         });

}  // namespace
}  // namespace hz4_test
