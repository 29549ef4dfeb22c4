#!/bin/bash
# clang: a C++ program of many templates, compiled to the same objects, linked by lld with ThinLTO, and run
set -eu
cat >program.cc <<'CC'
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <variant>
#include <vector>

template <int N> struct Sum { static constexpr long value = N + Sum<N - 1>::value; };
template <> struct Sum<0> { static constexpr long value = 0; };

int main() {
  std::map<std::string, std::variant<int, std::string, std::vector<double>>> words;
  for (int i = 0; i < 3000; i++) {
    std::string key = "key" + std::to_string(i * 7919 % 1009);
    if (i % 3 == 0) words[key] = i;
    else if (i % 3 == 1) words[key] = std::string(i % 300, 'x');
    else words[key] = std::vector<double>(i % 100, 0.5 * i);
  }
  std::vector<std::thread> threads;
  std::vector<long> sums(4);
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      for (auto& [key, value] : words) sums[t] += value.index() + key.size();
    });
  }
  for (auto& thread : threads) thread.join();
  long matches = std::count_if(words.begin(), words.end(), [](auto& w) { return w.first.find("33") < w.first.size(); });
  std::cout << Sum<500>::value << " " << words.size() << " " << sums[0] + sums[3] << " " << matches << "\n";
}
CC
for options in '-O0 -g' '-O2 -flto=thin'; do
  # shellcheck disable=SC2086 # words
  clang-19 -std=c++17 $options -c program.cc -o program.o
  echo "$options: $(sha256sum <program.o)"
done
clang-19 -O2 -flto=thin -fuse-ld=lld -Wl,--threads=2 program.o -lstdc++ -lm -lpthread -o program
sha256sum program
./program
clang-19 -fsyntax-only -std=c++17 -DCUT=1 -x c++ - <<<'#include <string>
int main() { std::string s = 5 + std::map<int, int>{}; return s }' 2>&1 | sha256sum
