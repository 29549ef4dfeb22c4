"""Tests that run a protocol of hz4 through its interleavings, and the mutants that they must catch."""

load("@rules_cc//cc:defs.bzl", "cc_test")
load("//hz4:build_defs.bzl", "COPTS", "DEFINES")

# The compiler calls weave's hooks in place of ThreadSanitizer's: the linker is not told of a sanitizer. That is why no
# sanitizer's own configuration builds these tests.
_COPTS = COPTS + [
    "-fsanitize=thread",
    # The hooks see what memory functions touch.
    "-Dmemcpy=__tsan_memcpy",
    "-Dmemmove=__tsan_memmove",
    "-Dmemset=__tsan_memset",
]

_TAGS = ["no_sanitizer"]

def _edited(name, file, edits):
    """A copy of //hz4:FILE, changed by each of the sed commands; it is an error if one of them changes nothing."""
    out = name + "/" + file
    commands = ["cp $< $@"]
    for edit in edits:
        commands += [
            "sed '%s' $@ >$@.new" % edit.replace("$", "$$"),
            "if cmp -s $@ $@.new; then echo '%s: no such code' >&2; exit 1; fi" % name,
            "mv $@.new $@",
        ]
    native.genrule(
        name = name + "_edit",
        testonly = True,
        srcs = ["//hz4:" + file],
        outs = [out],
        cmd = "; ".join(["set -e"] + commands),
    )
    return out

def _test(name, scenarios, srcs, edited, **kwargs):
    """A test of the scenarios and the code that they run, with a file of it replaced or a header put before it."""
    headers = [":small/config.h"]
    if edited != None and edited.endswith(".h"):
        headers.append(edited)
    elif edited != None:
        srcs = [src for src in srcs if src != edited.split("/")[1]]
    includes = []
    for header in headers:
        includes += ["-include", "$(execpath %s)" % header]
    cc_test(
        name = name,
        srcs = [scenarios, "//hz4:headers"] + headers + ["//hz4:" + src for src in srcs] +
               ([edited] if edited != None and edited not in headers else []),
        copts = _COPTS + includes,
        local_defines = DEFINES,
        deps = [":weave"],
        **kwargs
    )

def weave_test(name, srcs = [], mutants = {}):
    """NAME_test: no execution of the scenarios in NAME_test.c fails. NAME_MUTANT_test: for each mutant, one does.

    NAME_deep_test, which is run by name only, has all bounds raised by one.

    Args:
      name: of the protocol.
      srcs: files of //hz4 to link.
      mutants: name -> (file of //hz4, sed command, ...).
    """
    scenarios = name + "_test.c"
    _test(name + "_test", scenarios, srcs, None, size = "medium", tags = _TAGS)
    _test(name + "_deep_test", scenarios, srcs, None, size = "large", args = ["--deeper=1"], tags = _TAGS + ["manual"])
    for mutant, edit in mutants.items():
        full_name = "%s_%s" % (name, mutant)
        edited = _edited(full_name, edit[0], edit[1:])
        _test(full_name + "_test", scenarios, srcs, edited, size = "medium", args = ["--fails"], tags = _TAGS)

def weave_config():
    """Of few steps: one round of spinning, since more are the same again, a small page map, one size class."""
    _edited("small", "config.h", [
        "s/HZ4_LOCK_SPINS 64/HZ4_LOCK_SPINS 1/",
        "s/HZ4_ADDRESS_BITS 48/HZ4_ADDRESS_BITS 40/",
        "s/HZ4_CLASS_COUNT 96/HZ4_CLASS_COUNT 1/",
    ])
