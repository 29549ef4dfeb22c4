// Schedules of push, take, close and open on a few inboxes, against a model: a list that is open or closed.
#include "hz4/inbox.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <vector>

#include "fuzz/check.h"

namespace {

constexpr size_t kInboxes = 3, kBatches = 96;

struct alignas(64) Batch : hz4_batch {};

struct Model {
  bool closed = false;
  std::vector<hz4_batch *> waiting;  // oldest first
  size_t Depth() const { return waiting.size() < HZ4_INBOX_DEPTH_MASK ? waiting.size() : HZ4_INBOX_DEPTH_MASK - 1; }
};

class Machine {
 public:
  Machine() : batches_(kBatches) {
    for (Batch &batch : batches_) idle_.push_back(&batch);
  }

  void Push(size_t i, uintptr_t limit) {
    if (idle_.empty()) return;
    hz4_batch *batch = idle_.back();
    batch->count = ++serial_;
    batch->objects[0] = batch->objects[HZ4_BATCH_OBJECTS - 1] = batch;
    const uintptr_t before = inboxes_[i].word;
    const bool expected = !models_[i].closed && models_[i].Depth() < limit;
    FUZZ_CHECK(hz4_inbox_push(&inboxes_[i], batch, limit) == expected);
    if (expected) {
      idle_.pop_back();
      models_[i].waiting.push_back(batch);
    } else {
      FUZZ_CHECK(inboxes_[i].word == before);
    }
  }

  void Take(size_t i) { Consume(i, hz4_inbox_take(&inboxes_[i])); }

  void Close(size_t i) {
    Consume(i, hz4_inbox_close(&inboxes_[i]));
    models_[i].closed = true;
  }

  void Open(size_t i) {
    if (!models_[i].closed) return;
    hz4_inbox_open(&inboxes_[i]);
    models_[i].closed = false;
  }

  void Check() const {
    for (size_t i = 0; i < kInboxes; ++i) {
      const uintptr_t word = inboxes_[i].word;
      const Model &model = models_[i];
      if (model.closed) FUZZ_CHECK(word == HZ4_INBOX_CLOSED);
      else FUZZ_CHECK((word & HZ4_INBOX_DEPTH_MASK) == model.Depth());
      FUZZ_CHECK(hz4_inbox_batch(word) == (model.waiting.empty() ? nullptr : model.waiting.back()));
    }
  }

 private:
  // The chain is what waited, newest first, and unharmed.
  void Consume(size_t i, hz4_batch *chain) {
    std::vector<hz4_batch *> &waiting = models_[i].waiting;
    uint64_t newer = serial_ + 1;
    for (; chain != nullptr; chain = chain->next) {
      FUZZ_CHECK(!waiting.empty() && waiting.back() == chain);
      FUZZ_CHECK(chain->count < newer && chain->objects[0] == chain);
      FUZZ_CHECK(chain->objects[HZ4_BATCH_OBJECTS - 1] == chain);
      newer = chain->count;
      waiting.pop_back();
      idle_.push_back(chain);
    }
    FUZZ_CHECK(waiting.empty());
  }

  hz4_inbox inboxes_[kInboxes] = {};
  Model models_[kInboxes];
  std::vector<Batch> batches_;
  std::vector<hz4_batch *> idle_;
  uint64_t serial_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  FuzzedDataProvider input(data, size);
  Machine machine;
  while (input.remaining_bytes() != 0) {
    const auto i = input.ConsumeIntegralInRange<size_t>(0, kInboxes - 1);
    switch (input.ConsumeIntegralInRange(0, 7)) {
      case 0: machine.Take(i); break;
      case 1: machine.Close(i); break;
      case 2: machine.Open(i); break;
      case 3:
        for (auto n = input.ConsumeIntegralInRange(1, 70); n != 0; --n) machine.Push(i, HZ4_INBOX_NO_LIMIT);
        break;
      default: machine.Push(i, input.PickValueInArray<uintptr_t>({1, 2, HZ4_INBOX_BATCHES_MAX, 62, 63})); break;
    }
    machine.Check();
  }
  for (size_t i = 0; i < kInboxes; ++i) machine.Close(i);
  machine.Check();
  return 0;
}
