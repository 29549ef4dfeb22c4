// A library to be preloaded: says on stderr in which file the code lies that a SIGSEGV or SIGBUS came from, before the
// process ends by it. So a test can tell a crash of hz4's from one of the program's, which was given a NULL.
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

static void *code_address(const ucontext_t *context) {
#if defined(__x86_64__)
  return (void *)context->uc_mcontext.gregs[REG_RIP];
#else
  return (void *)context->uc_mcontext.pc;
#endif
}

static void print(const char *text) {
  ssize_t written = write(STDERR_FILENO, text, strlen(text));
  (void)written;
}

static void report(int number, siginfo_t *info, void *context) {
  (void)number, (void)info;
  Dl_info place;
  print("crash_site: ");
  print(dladdr(code_address(context), &place) != 0 ? place.dli_fname : "no file");
  print("\n");
  // The handler is gone (SA_RESETHAND): the same instruction now ends the process.
}

__attribute__((constructor)) static void install(void) {
  const struct sigaction action = {.sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_RESETHAND};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
}
