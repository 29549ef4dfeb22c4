// hz4 and the C library's malloc do the same, step by step, and must agree where the contract says so.
#include "fuzz/heap_driver.h"
#include "hz4/hz4.h"
#include "hz4/options.h"

namespace {

// The peer's memory goes back too, or long runs would only see it grow.
void TrimPeer(const hz4_fuzz::Peer *peer) { peer->malloc_trim(0); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const auto *peer = new hz4_fuzz::Peer;
  // What is kept must not depend on the time, or a crash would not replay. (The environment was read when hz4 was loaded.)
  hz4_option.refault_ms = 0;
  hz4_fuzz::HeapDriver driver(data, size, peer, [](FuzzedDataProvider *) { TrimPeer(peer); });
  driver.Run([] {});
  return 0;
}
