#!/bin/bash
# java: javac, then native memory from 40 threads with stacks of 160 KiB and more, zlib, and ProcessBuilder
set -eu
here=$(dirname "$0")
mkdir classes
javac -d classes "$here/java_workload.java"
for options in '-Xss256k -XX:+UseSerialGC' '-XX:+UseG1GC -XX:NativeMemoryTracking=summary' '-Xint -Xss180k'; do
  # shellcheck disable=SC2086 # words
  java -Xmx128m $options -cp classes Workload
done
