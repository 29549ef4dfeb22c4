// The options parser against a second parser that knows nothing of the first. The input is the environment, one entry a
// line.
#include "hz4/options.h"

#include <string.h>

#include <algorithm>
#include <string>
#include <vector>

#include "fuzz/check.h"

namespace {

struct Option {
  std::string name;
  uint64_t least, greatest, value;
};

std::vector<Option> Defaults() {
#define OPTION(field, name, initial, least, greatest, meaning) {name, least, greatest, initial},
  return {HZ4_OPTION_TABLE(OPTION)};
#undef OPTION
}

std::vector<uint64_t> Parsed() {
#define OPTION(field, name, initial, least, greatest, meaning) hz4_option.field,
  return {HZ4_OPTION_TABLE(OPTION)};
#undef OPTION
}

void Reset() {
#define OPTION(field, name, initial, least, greatest, meaning) hz4_option.field = initial;
  HZ4_OPTION_TABLE(OPTION)
#undef OPTION
}

// Digits only, at least one, within the range: by comparing decimal strings.
bool InRange(std::string digits, const Option &option) {
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) return false;
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  auto not_above = [](const std::string &a, const std::string &b) {
    return a.size() != b.size() ? a.size() < b.size() : a <= b;
  };
  return not_above(std::to_string(option.least), digits) && not_above(digits, std::to_string(option.greatest));
}

// True when the entry must be complained of.
bool Apply(std::vector<Option> *options, const std::string &entry) {
  if (entry.compare(0, 4, "HZ4_") != 0) return false;
  const size_t equals = entry.find('=');
  if (equals == std::string::npos) return true;
  for (Option &option : *options) {
    if (option.name != entry.substr(0, equals)) continue;
    const std::string digits = entry.substr(equals + 1);
    if (!InRange(digits, option)) return true;
    option.value = std::stoull(digits);
    return false;
  }
  return true;
}

std::vector<std::string> complaints;

void Warn(const char *what, const char *detail) {
  FUZZ_CHECK(what != nullptr && *what != '\0' && detail != nullptr);
  complaints.push_back(detail);
}

void Append(void *context, const char *text) { *static_cast<std::string *>(context) += text; }

void CheckList() {
  std::string list;
  hz4_options_list(Append, &list);
  for (const Option &option : Defaults()) FUZZ_CHECK(list.find(option.name + " (") != std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::vector<std::string> entries(1);
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == '\n' || data[i] == '\0') entries.emplace_back();
    else entries.back() += static_cast<char>(data[i]);
  }
  std::vector<char *> environment;
  for (std::string &entry : entries) environment.push_back(entry.data());
  environment.push_back(nullptr);

  Reset();
  complaints.clear();
  hz4_options_parse(environment.data(), Warn);

  std::vector<Option> options = Defaults();
  std::vector<std::string> expected;
  for (const std::string &entry : entries) {
    if (Apply(&options, entry)) expected.push_back(entry);
  }
  FUZZ_CHECK(complaints == expected);
  const std::vector<uint64_t> parsed = Parsed();
  for (size_t i = 0; i < options.size(); ++i) FUZZ_CHECK(parsed[i] == options[i].value);

  hz4_options_parse(nullptr, Warn);
  FUZZ_CHECK(Parsed() == parsed && complaints == expected);
  CheckList();
  return 0;
}
