"""How hz4's own C is compiled, and what a module of it is."""

load("@rules_cc//cc:defs.bzl", "cc_library", "cc_test")

# A frame pointer would be a third of the fast path's instructions; the fast path has no array that a stack protector would
# be for, but slower ways have. No builtin malloc: the
# compiler must not turn a malloc that clears its memory into a call of calloc. Hidden: the public names say otherwise.
# Exceptions pass through operators new.
#
# Optimised and without asserts, unless the build is one for finding faults: whoever depends on hz4 gets it as it ships,
# in whatever mode he builds his own code. Bazel's default is -O0.
COPTS = [
    "-std=c11",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-fPIC",
    "-fvisibility=hidden",
    "-fexceptions",
    "-fomit-frame-pointer",
    "-fstack-protector-strong",
    "-fno-builtin-malloc",
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-free",
] + select({
    "//hz4:dbg": [],
    "//conditions:default": [
        "-O2",
        "-DNDEBUG",
    ],
})

DEFINES = ["_GNU_SOURCE"]

# An argument for tests that count instructions. riscv64 has no sequences, and no golden file.
SKIP_UNLESS_SHIPPED = select({
    "//hz4:counting": ["--skip"],
    "//hz4:dbg": ["--skip"],
    "//conditions:default": [],
}) + select({
    "@platforms//cpu:riscv64": ["--skip"],
    "//conditions:default": [],
})

def hz4_library(name, **kwargs):
    """A cc_library of hz4's own C."""
    cc_library(
        name = name,
        copts = COPTS,
        local_defines = DEFINES,
        linkstatic = True,
        **kwargs
    )

def hz4_module(name, deps = [], tests = None, test_deps = [], test_tags = [], kernel = ["//hz4/test:sys_fake"], **kwargs):
    """A rung of the ladder: NAME is NAME.c and NAME.h, what there is of them, and NAME_test is test/NAME_test.cc.

    Args:
      name: of the module.
      deps: all that its files may include.
      tests: names without _test, if they are not just the module's. A test may include what the module may.
      test_deps: what else the tests may include.
      test_tags: of the tests, beside no_msan.
      kernel: what is beneath them.
      **kwargs: for the library.
    """
    hz4_library(
        name = name,
        srcs = kwargs.pop("srcs", native.glob([name + ".c"])),
        hdrs = kwargs.pop("hdrs", native.glob([name + ".h"])),
        deps = deps,
        **kwargs
    )
    for test in [name] if tests == None else tests:
        cc_test(
            name = test + "_test",
            size = "small",
            srcs = ["//hz4/test:%s_test.cc" % test],
            tags = ["no_msan"] + test_tags,
            deps = [":" + name, "//hz4/test:helpers", "@googletest//:gtest_main"] + kernel + test_deps,
        )
