"""A fuzzer, and the test that replays what it found."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")
load("@rules_shell//shell:sh_binary.bzl", "sh_binary")

COPTS = ["-Werror"]

def hz4_fuzzer(name, deps, levels = []):
    """NAME: libFuzzer. NAME_replay_test: an ordinary test over testdata/NAME, for any compiler and configuration.

    Args:
      name: the fuzzer; its source is NAME.cc, its corpus //testdata:NAME.
      deps: what it needs besides fuzz/*.h.
      levels: of HZ4_HARDEN that the corpus is replayed with too: NAME_replay_hardenLEVEL_test.
    """
    cc_library(
        name = name + "_input",
        testonly = True,
        srcs = [name + ".cc"],
        copts = COPTS,
        linkstatic = True,
        deps = [":fuzzing"] + deps,
        alwayslink = True,
    )

    for suffix, env in [("", {})] + [("_harden" + level, {"HZ4_HARDEN": level}) for level in levels]:
        cc_test(
            name = name + "_replay" + suffix + "_test",
            size = "medium",
            srcs = ["replay_main.cc"],
            args = ["testdata/" + name],
            copts = COPTS,
            data = ["//testdata:" + name],
            env = env,
            tags = ["no_msan"],  # C++: libstdc++ is not instrumented
            deps = [":" + name + "_input"],
        )

    # Links with --config=fuzz only.
    cc_binary(
        name = name + "_engine",
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = [":" + name + "_input"],
    )

    # So that `bazel run //fuzz:NAME` needs no --config: see run.sh.
    sh_binary(
        name = name + "_run",
        srcs = ["run.sh"],
        args = [name],
    )

    native.alias(
        name = name,
        testonly = True,
        actual = select({
            "//:fuzz": ":" + name + "_engine",
            "//conditions:default": ":" + name + "_run",
        }),
    )
