#!/bin/bash
# cmake: a project of 150 libraries configured for make and ninja, generated code built and tested by ctest
set -eu
mkdir project
cat >project/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.18)
project(many C)
enable_testing()
set(all "")
foreach(i RANGE 1 150)
  file(WRITE ${CMAKE_BINARY_DIR}/lib${i}.c "int f${i}(void) { return ${i}; }\n")
  add_library(lib${i} STATIC EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/lib${i}.c)
  math(EXPR previous "${i} - 1")
  if(i GREATER 1)
    target_link_libraries(lib${i} PUBLIC lib${previous})
  endif()
  list(APPEND all "item-${i}")
  string(REGEX REPLACE "item-([0-9])" "<\\1>" all "${all}")
endforeach()
string(SHA256 sum "${all}")
message("sum ${sum}")
function(recurse n)
  if(n GREATER 0)
    math(EXPR less "${n} - 1")
    recurse(${less})
  endif()
endfunction()
recurse(200)
file(WRITE ${CMAKE_BINARY_DIR}/main.c "int f3(void); int main(void) { return f3() != 3; }\n")
add_executable(main ${CMAKE_BINARY_DIR}/main.c)
target_link_libraries(main lib3)
add_test(NAME main COMMAND main)
string(JSON answer GET [[{"a": [1, {"b": "c"}]}]] a 1 b)
message("json ${answer}")
CMAKE
for generator in 'Unix Makefiles' Ninja; do
  cmake -S project -B build -G "$generator" --graphviz=graph.dot 2>&1 | grep -E "^(sum|json)"
  sha256sum graph.dot build/CTestTestfile.cmake
  find build -name 'build.make' -o -name 'build.ninja' | sort | xargs cat | sha256sum
  cmake --build build -j2 --target main | grep -c lib
  (cd build && ctest -Q --output-log ctest.log && echo "tests pass")
  rm -r build
done
