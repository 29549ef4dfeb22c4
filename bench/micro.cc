// micro: single operations, by libc's names, so that any allocator can be preloaded.
//
// Every block's first byte is written, as programs do. Names end in the size in bytes.
#include <benchmark/benchmark.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include <atomic>

#include "bench/bench_malloc.h"

namespace {

constexpr int kBatch = 256;

void Touch(void *block) {
  *static_cast<volatile char *>(block) = 1;
  benchmark::DoNotOptimize(block);
}

void BM_malloc_free(benchmark::State &state) {
  const size_t size = state.range(0);
  for (auto _ : state) {
    void *block = malloc(size);
    Touch(block);
    free(block);
  }
}

// kCount blocks are allocated, then all freed in the same order. A thousand are more than caches are made for.
template <int kCount>
void BM_batch(benchmark::State &state) {
  const size_t size = state.range(0);
  void *blocks[kCount];
  while (state.KeepRunningBatch(kCount)) {
    for (void *&block : blocks) {
      block = malloc(size);
      Touch(block);
    }
    for (void *block : blocks) free(block);
  }
}

void BM_calloc_free(benchmark::State &state) {
  const size_t size = state.range(0);
  for (auto _ : state) {
    void *block = calloc(1, size);
    Touch(block);
    free(block);
  }
}

// From 16 bytes up to the size, each time by a share: what a growing vector asks for, or a string that is appended to.
void Grow(benchmark::State &state, size_t share) {
  const size_t limit = state.range(0);
  for (auto _ : state) {
    void *block = nullptr;
    for (size_t size = 16; size <= limit; size += size / share) {
      block = realloc(block, size);
      Touch(block);
    }
    free(block);
  }
}

void BM_realloc_growth(benchmark::State &state) { Grow(state, 2); }
void BM_realloc_doubling(benchmark::State &state) { Grow(state, 1); }
void BM_realloc_steps(benchmark::State &state) { Grow(state, 16); }

void BM_aligned_alloc_free(benchmark::State &state) {
  const size_t alignment = state.range(0);
  for (auto _ : state) {
    void *block = aligned_alloc(alignment, 2 * alignment);
    Touch(block);
    free(block);
  }
}

void BM_usable_size(benchmark::State &state) {
  void *block = malloc(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(malloc_usable_size(block));
  free(block);
}

// One thread allocates batches, the other frees them; two mailboxes, so that both can be busy.
std::atomic<void **> mailboxes[2];

void BM_handoff(benchmark::State &state) {
  const size_t size = state.range(0);
  static void *batches[2][kBatch];
  int turn = 0;
  while (state.KeepRunningBatch(kBatch)) {
    std::atomic<void **> &mailbox = mailboxes[turn];
    if (state.thread_index() == 0) {
      // Acquire pairs with the consumer's release: the batch's blocks were read.
      while (mailbox.load(std::memory_order_acquire) != nullptr) sched_yield();
      for (void *&block : batches[turn]) {
        block = malloc(size);
        Touch(block);
      }
      mailbox.store(batches[turn], std::memory_order_release);  // publishes the batch to the consumer
    } else {
      void **batch;
      // Acquire pairs with the producer's release.
      while ((batch = mailbox.load(std::memory_order_acquire)) == nullptr) sched_yield();
      for (int i = 0; i < kBatch; i++) free(batch[i]);
      mailbox.store(nullptr, std::memory_order_release);  // gives the mailbox back
    }
    turn ^= 1;
  }
}

void Sizes(benchmark::internal::Benchmark *bench) {
  for (int size : {16, 64, 256, 1024, 4096, 16384, 32768, 65536, 262144}) bench->Arg(size);
}

BENCHMARK(BM_malloc_free)->Apply(Sizes);
BENCHMARK_TEMPLATE(BM_batch, 256)->Apply(Sizes);
BENCHMARK_TEMPLATE(BM_batch, 1000)->Arg(64)->Arg(128)->Arg(1024)->Arg(4096);
BENCHMARK(BM_calloc_free)->Arg(64)->Arg(4096)->Arg(65536)->Arg(1 << 20);
BENCHMARK(BM_realloc_growth)->Arg(1024)->Arg(65536)->Arg(4 << 20);
BENCHMARK(BM_realloc_doubling)->Arg(65536)->Arg(4 << 20);
BENCHMARK(BM_realloc_steps)->Arg(65536)->Arg(4 << 20);
BENCHMARK(BM_aligned_alloc_free)->Arg(32)->Arg(256)->Arg(4096);
BENCHMARK(BM_usable_size)->Arg(64)->Arg(32768);
BENCHMARK(BM_handoff)->Arg(64)->Arg(4096)->Arg(32768)->Threads(2)->UseRealTime();

}  // namespace

int main(int argc, char **argv) {
  const bool without_arguments = argc == 1;
  char name[] = "micro", quick[] = "--benchmark_min_time=0.1";
  char *defaults[] = {name, quick, nullptr};
  if (without_arguments) {
    argc = 2;
    argv = defaults;
  }
  benchmark::Initialize(&argc, argv);
  if (argc > 1) {
    fprintf(stderr, "micro: unknown argument %s\n", argv[1]);
    return 2;
  }
  if (const char *shadowed = bench_malloc_shadowed()) {
    fprintf(stderr, "micro: %s cannot replace the malloc that is linked in here: preload it into micro_system\n",
            shadowed);
    return 2;
  }
  benchmark::AddCustomContext("malloc", bench_malloc_where());
  const size_t measured = benchmark::RunSpecifiedBenchmarks();
  if (without_arguments) printf("%s: %zu operations measured; Time is ns for one\n", bench_malloc_name(), measured);
  return 0;
}
