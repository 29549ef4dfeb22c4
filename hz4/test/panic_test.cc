// Messages: one line each, cut to what a line may have.
#include <gtest/gtest.h>

#include <string>

#include "hz4/base.h"

namespace {

TEST(Panic, WarningsAreOneLineEach) {
  testing::internal::CaptureStderr();
  hz4_warn("what", nullptr);
  hz4_warn("what", " and more");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "hz4: what\nhz4: what and more\n");
}

TEST(Panic, LongOnesAreCutTo256Bytes) {
  const std::string text(250, 'x');
  testing::internal::CaptureStderr();
  hz4_warn(text.c_str(), nullptr);
  hz4_warn(text.c_str(), "y");
  hz4_warn("what", text.c_str());
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "hz4: " + text + "\nhz4: " + text + "\nhz4: what" + std::string(246, 'x') + "\n");
}

TEST(Panic, EndsTheProgram) {
  EXPECT_EXIT(hz4_panic("why"), testing::KilledBySignal(SIGABRT), "^hz4: why\n$");
  EXPECT_EXIT(hz4_panic_pointer("why", reinterpret_cast<void *>(0x1230abcdef)), testing::KilledBySignal(SIGABRT),
              "^hz4: why: 0x0000001230abcdef\n$");
}

}  // namespace
