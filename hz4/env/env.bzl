"""Programs that are tests of an environment, and programs and libraries that tests in other languages run."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_test")
load("@rules_python//python:defs.bzl", "py_test")
load("@rules_shell//shell:sh_test.bzl", "sh_test")

HZ4_MALLOC = "//hz4:malloc"

SYSTEM_MALLOC = "@bazel_tools//tools/cpp:malloc"

# The process's malloc is hz4: its own way, and with a cache for each thread.
FRONTS = [
    ("", {}),
    ("_by_thread", {"HZ4_FRONT": "1"}),
]

_COPTS = [
    "-D_GNU_SOURCE",
    "-Werror",
    # Or else the compiler may drop a pair of malloc and free.
    "-fno-builtin",
]

_LINKOPTS = ["-pthread", "-ldl"]

# All replace malloc, preload it, or limit the process: no sanitizer lives with that.
_TAGS = ["no_sanitizer"]

def env_test(name, src = None, malloc = HZ4_MALLOC, size = "medium", linkopts = [], tags = [], deps = ["//hz4"], **kwargs):
    """A test that is a program. LINKED is defined in it when its malloc is hz4.

    Args:
      name: of the test.
      src: NAME.c, if it is not said.
      malloc: HZ4_MALLOC; or SYSTEM_MALLOC, beside which a program has hz4's own names.
      size: as cc_test's.
      linkopts: more of them.
      tags: more of them.
      deps: none, where hz4 is loaded only.
      **kwargs: for cc_test.
    """
    cc_test(
        name = name,
        size = size,
        srcs = [src or name + ".c"],
        copts = _COPTS,
        linkopts = _LINKOPTS + linkopts,
        local_defines = ["LINKED"] if malloc == HZ4_MALLOC else [],
        malloc = malloc,
        tags = _TAGS + tags,
        deps = ["//hz4/env:check"] + deps,
        **kwargs
    )

def env_program(name, src = None, malloc = SYSTEM_MALLOC, copts = [], linkopts = [], deps = [], **kwargs):
    """A program for env_script_test; without an allocator any can be loaded into it.

    Args:
      name: of the program.
      src: NAME.c, if it is not said.
      malloc: as env_test's.
      copts: more of them.
      linkopts: more of them.
      deps: more of them.
      **kwargs: for cc_binary.
    """
    cc_binary(
        name = name,
        testonly = True,
        srcs = [src or name + ".c"],
        copts = _COPTS + copts,
        linkopts = _LINKOPTS + linkopts,
        malloc = malloc,
        tags = _TAGS,
        deps = ["//hz4/env:check"] + deps,
        **kwargs
    )

def env_library(name, src, **kwargs):
    """A shared library from SRC, without an allocator."""
    cc_binary(
        name = name,
        testonly = True,
        srcs = [src],
        copts = _COPTS + ["-fPIC"],
        linkshared = True,
        malloc = SYSTEM_MALLOC,
        tags = _TAGS,
        **kwargs
    )

def env_script_test(name, src, operands, args = [], size = "medium", tags = [], **kwargs):
    """A test that is a script: it is given the paths of libhz4.so and of the operands, and then the args.

    Args:
      name: of the test.
      src: the script, for Python or a shell.
      operands: what it runs or reads.
      args: what follows.
      size: as cc_test's.
      tags: more of them.
      **kwargs: for the rule.
    """
    files = ["//hz4:libhz4.so"] + operands
    rule = sh_test
    if src.endswith(".py"):
        rule = py_test
        kwargs["main"] = src
    rule(
        name = name,
        size = size,
        srcs = [src],
        args = ["$(rootpaths %s)" % file for file in files] + args,
        data = files,
        tags = _TAGS + tags,
        **kwargs
    )
