// Messages: one line each, cut to what a line may have.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "hz4/base.h"
#include "hz4/test/qemu.h"

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
  EXPECT_EXIT(hz4_panic("why"), testing::KilledBySignal(SIGABRT), "^hz4: why" HZ4_TEST_LAST_LINE_END);
  EXPECT_EXIT(hz4_panic_pointer("why", reinterpret_cast<void *>(0x1230abcdef)), testing::KilledBySignal(SIGABRT),
              "^hz4: why: 0x0000001230abcdef" HZ4_TEST_LAST_LINE_END);
}

// A file of its own, for a child to have as descriptor 2.
std::string SaidIn(const std::function<void(int)> &say) {
  FILE *file = tmpfile();
  if (file == nullptr) abort();
  const pid_t child = fork();
  if (child == 0) {
    say(fileno(file));
    _exit(0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) || WTERMSIG(status) == SIGABRT) << status;
  std::string text;
  rewind(file);
  for (int c; (c = getc(file)) != EOF;) text += static_cast<char>(c);
  fclose(file);
  const size_t qemus = hz4_test::UnderQemu() ? text.find("qemu: ") : std::string::npos;  // it says that the child died
  return text.substr(0, qemus);
}

TEST(Stderr, WhatGotItsNumberSinceIsLeftAlone) {
  EXPECT_EQ(SaidIn([](int fd) {
              close(STDERR_FILENO);
              hz4_stderr_remember();
              dup2(fd, STDERR_FILENO);
              EXPECT_EQ(hz4_stderr(false), -1);
              EXPECT_EQ(hz4_stderr(true), -1);
              hz4_warn("what", nullptr);
              hz4_panic("why");
            }),
            "");
}

TEST(Stderr, WhereTheProgramPutItMessagesGo) {
  EXPECT_EQ(SaidIn([](int fd) {
              hz4_stderr_remember();
              EXPECT_EQ(hz4_stderr(true), STDERR_FILENO);
              dup2(fd, STDERR_FILENO);
              EXPECT_EQ(hz4_stderr(false), STDERR_FILENO);
              EXPECT_EQ(hz4_stderr(true), -1);
              hz4_panic("why");
            }),
            "hz4: why\n");
}

// SIGABRT is blocked, and has a handler, which may do anything.
TEST(Panic, NoHandlerRunsAfterAFailedAssertion) {
  EXPECT_EXIT(
      {
        sigset_t all;
        sigfillset(&all);
        signal(SIGABRT, [](int) { _exit(3); });
        sigprocmask(SIG_SETMASK, &all, nullptr);
        hz4_assertion_failed("so");
      },
      testing::KilledBySignal(SIGABRT), "^hz4: assertion: so" HZ4_TEST_LAST_LINE_END);
}

}  // namespace
