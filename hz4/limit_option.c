#include "hz4/limit_option.h"

#include <string.h>
#include <sys/sysinfo.h>

#include "hz4/cgroup.h"
#include "hz4/limit.h"
#include "hz4/options.h"
#include "hz4/syscall.h"

#define CGROUP "cgroup"

static uint64_t machine_bytes(void) {
  struct sysinfo info = {0};
  return hz4_syscall(SYS_sysinfo, &info) == 0 ? (uint64_t)info.totalram * info.mem_unit : UINT64_MAX;
}

static uint64_t share_of(uint64_t bytes, uint64_t percent) {
  return bytes == UINT64_MAX ? bytes : bytes / 100 * percent;
}

// 1 to 100, and a percent sign. Returns where it ends, or NULL.
static const char *parse_percent(const char *text, uint64_t *percent) {
  text = hz4_options_parse_bytes(text, percent);
  return text != NULL && *text == '%' && *percent >= 1 && *percent <= 100 ? text + 1 : NULL;
}

// UINT64_MAX: none, which 0 says.
static const char *parse_amount(const char *text, uint64_t *bytes) {
  uint64_t percent;
  const char *end = parse_percent(text, &percent);
  if (end != NULL) {
    *bytes = share_of(machine_bytes(), percent);
    return end;
  }
  end = hz4_options_parse_bytes(text, bytes);
  if (end != NULL && *bytes == 0) *bytes = UINT64_MAX;
  return end;
}

static bool read_cgroup(const char *text, uint64_t *soft, uint64_t *hard) {
  uint64_t percent = HZ4_LIMIT_CGROUP_PERCENT;
  if (*text != '\0' && (*text != ':' || (text = parse_percent(text + 1, &percent)) == NULL || *text != '\0')) return false;
  struct hz4_cgroup_limits limits = hz4_cgroup_read(HZ4_CGROUP_OF_PROCESS, HZ4_CGROUP_ROOT);
  *hard = share_of(limits.max, percent);
  *soft = limits.high < limits.max ? share_of(limits.high, percent) : *hard;
  return true;
}

static bool read_amounts(const char *text, uint64_t *soft, uint64_t *hard) {
  text = parse_amount(text, soft);
  if (text != NULL && *text == ':') text = parse_amount(text + 1, hard);
  return text != NULL && *text == '\0' && (*soft <= *hard || *soft == UINT64_MAX);
}

void hz4_limit_option_read_container(void) {
  struct hz4_cgroup_limits container = hz4_cgroup_read(NULL, HZ4_CGROUP_ROOT);
  hz4_limit_set_container(container.high < container.max ? container.high : container.max);
}

static bool read_either(const char *text, uint64_t *soft, uint64_t *hard) {
  size_t length = strlen(CGROUP);
  *soft = *hard = UINT64_MAX;
  return strncmp(text, CGROUP, length) == 0 ? read_cgroup(text + length, soft, hard) : read_amounts(text, soft, hard);
}

bool hz4_limit_option_holds(const char *text) {
  uint64_t soft, hard;
  return *text == '\0' || read_either(text, &soft, &hard);
}

bool hz4_limit_option_read(const char *text) {
  if (*text == '\0') return true;
  uint64_t soft, hard;
  if (!read_either(text, &soft, &hard)) return false;
  hz4_limit_configure(soft, hard);
  return true;
}
