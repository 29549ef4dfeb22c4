#include "hz4/probes.h"

#include "hz4/probe.h"
#include "hz4/sample.h"

// In a section of their own, as tracers want it, which is never merged or dropped.
#define SEMAPHORE __attribute__((section(".probes"), used)) volatile uint16_t
SEMAPHORE hz4_probe_alloc_semaphore = 0;
SEMAPHORE hz4_probe_free_semaphore = 0;

HZ4_IN_DATA _Atomic(bool) hz4_probes_on;

// What all notes refer to, and nothing else: a linker that drops what is not used would drop it.
extern const char base[] __asm__("_.stapsdt.base") __attribute__((visibility("hidden")));

HZ4_PROBED static void on_alloc(struct hz4_sample *sample) {
  HZ4_PROBE3("otel_memory", "alloc", "hz4_probe_alloc_semaphore", sample->block, sample->size,
             sample->weight[HZ4_SAMPLE_PROBE]);
}

HZ4_PROBED static void on_free(struct hz4_sample *sample) {
  HZ4_PROBE1("otel_memory", "free", "hz4_probe_free_semaphore", sample->block);
}

static const struct hz4_sample_hooks hooks = {on_alloc, on_free};

void hz4_probes_follow(void) {
  __asm__ volatile("" : : "r"(base));
  bool wanted = hz4_probe_alloc_semaphore != 0;
  hz4_store_relaxed(&hz4_probes_on, wanted);
  if (wanted) hz4_sample_start(HZ4_SAMPLE_PROBE, HZ4_PROBE_SAMPLE_BYTES, &hooks);
  else hz4_sample_stop(HZ4_SAMPLE_PROBE);
}
