"""Tests that run a protocol of hz4 through its interleavings, and the mutants that they must catch."""

load("@rules_cc//cc:defs.bzl", "cc_test")
load("//hz4:build_defs.bzl", "COPTS", "DEFINES")

# The compiler calls weave's hooks in place of ThreadSanitizer's: the linker is not told of a sanitizer. That is why no
# sanitizer's own configuration builds these tests.
_COPTS = COPTS + [
    "-DHZ4_SEQUENCE_MODEL",
    "-Wno-array-bounds",  # caches of one class are small, but just as far from each other
    "-fsanitize=thread",
    # The hooks see what memory functions touch.
    "-Dmemcpy=__tsan_memcpy",
    "-Dmemmove=__tsan_memmove",
    "-Dmemset=__tsan_memset",
]

_TAGS = ["no_sanitizer"]

# What mutants change that is of this directory, and by way of an edited sequence.h.
_MODEL = "sequence_model.h"

def _edited(name, file, edits):
    """A copy of //hz4:FILE or FILE here, changed by each of the sed commands. It is an error if one changes nothing."""
    out = name + "/" + file
    target = "%s_edit_%s" % (name, file.replace(".", "_"))
    commands = ["cp $< $@"]
    for edit in edits:
        commands += [
            "sed '%s' $@ >$@.new" % edit.replace("$", "$$"),
            "if cmp -s $@ $@.new; then echo '%s: no such code' >&2; exit 1; fi" % name,
            "mv $@.new $@",
        ]
    native.genrule(
        name = target,
        testonly = True,
        srcs = [file if file == _MODEL else "//hz4:" + file],
        outs = [out],
        cmd = "; ".join(["set -e"] + commands),
    )
    return out

def _test(name, scenarios, srcs, edited, **kwargs):
    """A test of the scenarios and the code that they run, with a file of it replaced or a header put before it."""
    headers = [":small/config.h", ":small/sequence.h"]
    if edited != None and edited.endswith("/" + _MODEL):
        headers[1] = edited.replace(_MODEL, "sequence.h")
    elif edited != None and edited.endswith(".h"):
        headers.append(edited)
    elif edited != None:
        srcs = [src for src in srcs if src != edited.split("/")[1]]
    includes = []
    for header in headers:
        includes += ["-include", "$(execpath %s)" % header]
    cc_test(
        name = name,
        srcs = [scenarios, "//hz4:headers", _MODEL] + headers + ["//hz4:" + src for src in srcs] +
               ([edited] if edited != None and edited not in headers else []),
        copts = _COPTS + includes,
        local_defines = DEFINES,
        deps = [":scheduler"],
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
        if edit[0] == _MODEL:
            _edited(full_name, "sequence.h", [_SMALL_SEQUENCE, "s|weave/%s|weave/%s|" % (_MODEL, edited)])
        _test(full_name + "_test", scenarios, srcs, edited, size = "medium", args = ["--fails"], tags = _TAGS)

# Where a cache of few size classes has its limits.
_SMALL_SEQUENCE = ("s/LIMIT_OFFSET [0-9]*$/LIMIT_OFFSET (HZ4_CACHE_TOP_OFFSET + 8 * HZ4_CLASS_SLOTS)/;" +
                   "s/BINS_OFFSET [0-9]*$/BINS_OFFSET (HZ4_CACHE_TOP_OFFSET + 16 * HZ4_CLASS_SLOTS)/;" +
                   "s/LEFT_OFFSET [0-9]*$/LEFT_OFFSET (HZ4_CACHE_BINS_OFFSET + HZ4_CACHE_BIN_BYTES * HZ4_CLASS_SLOTS)/")

def weave_config(name):
    """Of few steps: one round of spinning, since more are the same again, a small page map, one size class.

    Args:
      name: the directory of these headers, which all tests include: small.
    """
    _edited(name, "sequence.h", [_SMALL_SEQUENCE])
    _edited(name, "config.h", [
        "s/HZ4_LOCK_SPINS 64/HZ4_LOCK_SPINS 1/",
        "s/HZ4_ADDRESS_BITS 48/HZ4_ADDRESS_BITS 40/",
        "s/HZ4_CLASS_COUNT 96/HZ4_CLASS_COUNT 1/;s/HZ4_TINY_CLASSES 3/HZ4_TINY_CLASSES 1/;s/HZ4_HOMES 8/HZ4_HOMES 1/",
        "s/HZ4_CLAIM_WORDS 32/HZ4_CLAIM_WORDS 2/",
        "s/HZ4_PROFILE_CHAINS 4096/HZ4_PROFILE_CHAINS 1/",
        "s/HZ4_SLOTS 512/HZ4_SLOTS 2/",
    ])
