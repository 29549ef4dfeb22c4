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

bool EndsIn(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Digits only, at least one, as one number; -1: they are none, or it is above 2^100.
using Wide = __int128;
Wide FromDigits(const std::string &digits) {
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  Wide value = 0;
  for (char digit : digits) {
    value = value * 10 + (digit - '0');
    if (value >> 100 != 0) return -1;
  }
  return value;
}

// -1: no value.
Wide ValueOf(const Option &option, std::string text) {
  const struct {
    const char *option, *word;
    int value;
  } words[] = {{"HZ4_FRONT", "cpu", 0}, {"HZ4_FRONT", "thread", 1}, {"HZ4_STATS", "text", 1}, {"HZ4_STATS", "json", 2},
               {"HZ4_HARDEN", "off", 0}, {"HZ4_HARDEN", "on", 1}, {"HZ4_STATS_SIGNAL", "HUP", 1},
               {"HZ4_STATS_SIGNAL", "USR1", 10}, {"HZ4_STATS_SIGNAL", "USR2", 12}};
  for (const auto &word : words) {
    if (option.name == word.option && text == word.word) return word.value;
  }
  if (option.greatest == 1 && option.name != "HZ4_FRONT") {
    if (text == "yes" || text == "on" || text == "true") return 1;
    if (text == "no" || text == "off" || text == "false") return 0;
  }
  const bool kib = EndsIn(option.name, "_KIB");
  Wide unit = 1;
  if (kib || EndsIn(option.name, "_BYTES")) {
    int power = 0;
    for (const char *suffix : {"K", "M", "G", "T"}) {
      ++power;
      for (const std::string &end : {std::string(suffix), std::string(suffix) + "iB"}) {
        if (unit != 1 || !EndsIn(text, end)) continue;
        text.erase(text.size() - end.size());
        unit = (Wide)1 << (10 * (kib ? power - 1 : power));
        if (unit == 1) unit = -1;  // KiB in KiB
      }
    }
    if (unit == -1) unit = 1;
  }
  const Wide number = FromDigits(text);
  if (number < 0) return -1;
  const Wide value = number * unit;
  return number <= UINT64_MAX && value >= option.least && value <= option.greatest ? value : -1;
}

// True when the entry must be complained of.
bool Apply(std::vector<Option> *options, const std::string &entry) {
  if (entry.compare(0, 4, "HZ4_") != 0) return false;
  const size_t equals = entry.find('=');
  if (equals == std::string::npos) return true;
#define TEXT(field, name, meaning) \
  if (entry.substr(0, equals) == name) return entry.size() - equals - 1 >= HZ4_OPTION_TEXT_BYTES;
  HZ4_OPTION_TEXT_TABLE(TEXT)
#undef TEXT
  for (Option &option : *options) {
    if (option.name != entry.substr(0, equals)) continue;
    const Wide value = ValueOf(option, entry.substr(equals + 1));
    if (value < 0) return true;
    option.value = static_cast<uint64_t>(value);
    return false;
  }
  return true;
}

std::vector<std::string> complaints;

void Warn(const char *what, const char *detail) {
  FUZZ_CHECK(what != nullptr && *what != '\0' && detail != nullptr);
  complaints.push_back(detail);
}

void CheckList() {
  std::vector<char> buffer(1 << 16);
  struct hz4_writer w = {buffer.data(), buffer.size(), 0, 0, -1, 0};
  hz4_options_put_table(&w);
  const std::string list(buffer.data(), w.used);
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
  hz4_options_parse(nullptr, environment.data(), Warn);

  std::vector<Option> options = Defaults();
  std::vector<std::string> expected;
  for (const std::string &entry : entries) {
    if (Apply(&options, entry)) expected.push_back(entry);
  }
  FUZZ_CHECK(complaints == expected);
  const std::vector<uint64_t> parsed = Parsed();
  for (size_t i = 0; i < options.size(); ++i) FUZZ_CHECK(parsed[i] == options[i].value);

  hz4_options_parse(nullptr, nullptr, Warn);
  FUZZ_CHECK(Parsed() == parsed && complaints == expected);
  CheckList();
  return 0;
}
