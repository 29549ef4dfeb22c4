"""What most of the tests here are."""

load("@rules_cc//cc:defs.bzl", "cc_test")

FAKE_KERNEL = ["//hz4:api", ":sys_fake"]

def heap_test(name, src = None, size = "medium", heap = ["//hz4"], tags = ["no_msan"], deps = [], **kwargs):
    """A test of the whole allocator, with GoogleTest.

    Args:
      name: of the test.
      src: NAME.cc, if it is not said.
      size: as cc_test's.
      heap: hz4 above the kernel, or FAKE_KERNEL.
      tags: for C++ no_msan at least.
      deps: modules that it looks into.
      **kwargs: for cc_test.
    """
    cc_test(
        name = name,
        size = size,
        srcs = [src or name + ".cc"],
        tags = tags,
        deps = heap + [":helpers", "@googletest//:gtest_main"] + deps,
        **kwargs
    )
