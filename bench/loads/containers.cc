// What makes a C++ compiler allocate: templates of templates.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N>
struct Key {
  int number;
  std::string text;
  bool operator<(const Key &other) const {
    return std::tie(number, text) < std::tie(other.number, other.text);
  }
};

template <int N>
std::size_t exercise(const std::vector<std::string> &words) {
  std::map<Key<N>, std::vector<std::string>> sorted;
  std::unordered_map<std::string, std::set<Key<N>>> hashed;
  std::vector<std::shared_ptr<std::variant<int, std::string, Key<N>>>> variants;
  for (const auto &word : words) {
    Key<N> key{N, word};
    sorted[key].push_back(word);
    hashed[word].insert(key);
    variants.push_back(std::make_shared<std::variant<int, std::string, Key<N>>>(key));
  }
  std::sort(variants.begin(), variants.end(), [](const auto &a, const auto &b) { return a->index() + N < b->index(); });
  std::function<std::size_t(const Key<N> &)> size = [&](const Key<N> &key) { return sorted[key].size(); };
  std::optional<std::size_t> sum;
  for (const auto &[word, keys] : hashed)
    for (const auto &key : keys) sum = sum.value_or(0) + size(key);
  return sum.value_or(N);
}

template <int... N>
std::size_t exercise_all(const std::vector<std::string> &words, std::integer_sequence<int, N...>) {
  return (exercise<N>(words) + ...);
}

std::size_t all(const std::vector<std::string> &words) {
  return exercise_all(words, std::make_integer_sequence<int, INSTANCES>());
}
