// What was noted is reported once, by who noted it.
#include "hz4/misuse.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

namespace {

// Under emulation qemu adds a line of its own.
TEST(Misuse, IsReportedByWhoNotedIt) {
  auto in_thread = [](auto run) { std::thread(run).join(); };
  hz4_misuse_report(__builtin_frame_address(0));  // of nothing
  EXPECT_EXIT(
      {
        hz4_misuse_note("first", nullptr);
        hz4_misuse_note("second", nullptr);
        in_thread([] {
          hz4_misuse_note("third", nullptr);
          hz4_misuse_report(__builtin_frame_address(0));
        });
        hz4_misuse_report(__builtin_frame_address(0));
      },
      testing::KilledBySignal(SIGABRT), "^hz4: first: 0x0000000000000000\n(qemu: .*\n)?$");
  EXPECT_EXIT(
      {
        in_thread([] { hz4_misuse_note("of a thread that is gone", nullptr); });
        hz4_misuse_fork_child();
        hz4_misuse_note("own", nullptr);
        hz4_misuse_fork_child();
        hz4_misuse_report(__builtin_frame_address(0));
      },
      testing::KilledBySignal(SIGABRT), "^hz4: own: 0x0000000000000000\n(qemu: .*\n)?$");
}

}  // namespace
