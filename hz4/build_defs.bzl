"""How hz4's own C is compiled."""

# A frame pointer and a stack protector would be a third of the fast path's instructions. No builtin malloc: the
# compiler must not turn a malloc that clears its memory into a call of calloc. Hidden: the public names say otherwise.
COPTS = [
    "-Werror",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-fPIC",
    "-fvisibility=hidden",
    "-fomit-frame-pointer",
    "-fno-stack-protector",
    "-fno-builtin-malloc",
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-free",
]

DEFINES = ["_GNU_SOURCE"]

# An argument for tests that count instructions.
SKIP_UNLESS_SHIPPED = select({
    "//hz4:counting": ["--skip"],
    "//hz4:optimised": [],
    "//conditions:default": ["--skip"],
})
