// The whole allocator over a kernel that refuses: what fails, fails with ENOMEM and changes nothing.
#include "fuzz/heap_driver.h"
#include "fuzz/hostile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hz4_sys_fake_reset();
  hz4_fuzz::HeapDriver driver(data, size, nullptr, hz4_fuzz::TurnKnobs);
  driver.Run(hz4_sys_fake_reset);
  return 0;
}
