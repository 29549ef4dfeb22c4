"""What newer Bazels load from rules_cc, taken from the rules that are built into this one."""

cc_binary = native.cc_binary
cc_import = native.cc_import
cc_library = native.cc_library
cc_test = native.cc_test

# For the toolchain that Bazel writes for itself.
cc_toolchain = native.cc_toolchain
cc_toolchain_suite = native.cc_toolchain_suite
