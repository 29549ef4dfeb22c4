"""The configuration of a toolchain like gcc, which newer Bazels load from rules_cc and this one brings along."""

load("@bazel_tools//tools/cpp:unix_cc_toolchain_config.bzl", _cc_toolchain_config = "cc_toolchain_config")

cc_toolchain_config = _cc_toolchain_config
