"""A benchmark is two programs of the same sources."""

load("@rules_cc//cc:defs.bzl", "cc_binary")

# Or else the compiler may drop a pair of malloc and free.
COPTS = [
    "-Werror",
    "-fno-builtin-malloc",
    "-fno-builtin-free",
]

SYSTEM_MALLOC = "@bazel_tools//tools/cpp:malloc"

def bench(name, **kwargs):
    """NAME has hz4 linked in. NAME_system has no allocator: those to compare are preloaded, all into this one binary.

    Args:
      name: the benchmark's
      **kwargs: cc_binary's
    """
    cc_binary(
        name = name,
        copts = COPTS,
        malloc = "//hz4:malloc",
        tags = ["no_sanitizer"],  # its runtime is a malloc too
        **kwargs
    )
    cc_binary(
        name = name + "_system",
        copts = COPTS,
        malloc = SYSTEM_MALLOC,
        **kwargs
    )
