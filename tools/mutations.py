"""The faults that tools/mutate.py seeds: what a slip of the hand does to a line of C."""

import glob
import os
import random
import re

# No logic in them: numbers that only a benchmark can judge, orders that the model checker judges, declarations.
NOT_CHANGED = ["atomic.h", "config.h", "hz4.h"]
# Asserts and checks of invariants are there for tests, and no part of what is tested; tables are data.
NOT_A_LINE = re.compile(r"HZ4_ASSERT|HZ4_HOLDS|hz4_lock_assert_held|_Static_assert|extern|__attribute__|"
                        r"^\s*(?:X\(|#|//)")

SWAPS = [
    ("<", "<="), ("<=", "<"), (">", ">="), (">=", ">"), ("==", "!="), ("!=", "=="), ("&&", "||"), ("||", "&&"),
    ("+", "-"), ("-", "+"), ("*", "/"), ("/", "*"), ("%", "/"), ("<<", ">>"), (">>", "<<"), ("+=", "-="), ("-=", "+="),
    ("|=", "&="), ("&=", "|="), ("&", "|"), ("|", "&"),
]
SWAP = {" %s " % old: " %s " % new for old, new in SWAPS}
WORDS = {"true": "false", "false": "true", "continue": "break", "break": "continue", "next": "prev", "prev": "next"}

STATEMENT = re.compile(r"^(\s*)(?!return\b|break\b|continue\b|goto\b)((?:\+\+|--)?[\w*][\w\->.\[\]&*]*"
                       r"(?:\(.*\)| [-+|&*/]?= [^{]*|\+\+|--)?;)(\s*//.*)?$")
CONTROLLED = re.compile(r"^(\s*(?:\} else )?(?:if|while) \(.*\)) ([^;{]+;)(.*)$")
CONDITION = re.compile(r"\b(if|while) \((.*)\)( \{| [^)]*;|$)")


class Mutant:
    def __init__(self, path, number, old, new, text):
        self.path, self.number, self.old, self.new, self.text = path, number, old, new, text
        self.module = os.path.splitext(os.path.basename(path))[0]
        self.key = "%s: %s => %s" % (os.path.basename(path), old.strip(), new.strip())

    def diff(self):
        return "%s:%d\n-%s\n+%s\n" % (self.path, self.number, self.old, self.new)


def changes(line):
    """Every faulty version of one line."""
    code = line.split("//")[0]
    for found in re.finditer(r" (?:[<>=!+|&-]=|<<|>>|&&|\|\||[-+*/%<>&|]) ", code):
        if found.group() in SWAP:
            yield line[:found.start()] + SWAP[found.group()] + line[found.end():]
    for found in re.finditer(r"\b(?:true|false|continue|break|next|prev)\b", code):
        yield line[:found.start()] + WORDS[found.group()] + line[found.end():]
    for found in re.finditer(r"(?<![\w.\"'])\d+(?=u?\b)(?![.\w]*[\"'])", code):
        yield line[:found.start()] + str(int(found.group()) + 1) + line[found.end():]
    for found in re.finditer(r"\+\+|--", code):
        yield line[:found.start()] + ("--" if found.group() == "++" else "++") + line[found.end():]
    for found in re.finditer(r"\bsize_class(?=[,)\]])", code):
        if not re.search(r"uint\w+ $|size_t $|->$|\.$", code[:found.start()]):
            yield line[:found.start()] + "size_class - 1" + line[found.end():]
    found = CONDITION.search(code)
    if found and found.group(2).count("(") == found.group(2).count(")"):
        yield line[:found.start(2)] + "!(" + found.group(2) + ")" + line[found.end(2):]
    found = STATEMENT.match(line)
    if found and not re.match(r"(struct|enum|const|static|typedef)\b", found.group(2)):
        yield found.group(1) + ";" + (found.group(3) or "")
    found = CONTROLLED.match(line)
    if found:
        yield found.group(1) + " ;" + found.group(3)


def of_file(path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    for index, line in enumerate(lines):
        if NOT_A_LINE.search(line):
            continue
        for new in changes(line):
            yield Mutant(path, index + 1, line, new, "\n".join([*lines[:index], new, *lines[index + 1:]]))


def choose(count, seed, only=None):
    """About `count` mutants: of each file a share by its possible faults, at least two. only: those of these files."""
    paths = sorted(glob.glob("hz4/*.c") + glob.glob("hz4/*.h"))
    names = {path: os.path.basename(path) for path in paths}
    paths = [p for p in paths if names[p] not in NOT_CHANGED]
    possible = {}
    for path in paths:
        unique = {mutant.key: mutant for mutant in of_file(path)}
        possible[path] = list(unique.values())
    total = sum(len(mutants) for mutants in possible.values())
    chosen = []
    for path, mutants in possible.items():
        share = max(2, round(count * len(mutants) / max(1, total)))
        drawn = random.Random("%d %s" % (seed, path)).sample(mutants, min(share, len(mutants)))
        chosen += sorted(drawn, key=lambda mutant: (mutant.number, mutant.new))
    return [mutant for mutant in chosen if not only or names[mutant.path] in only]


def read_equivalent(path):
    """{key of a mutant: why it is as good as what is there}: two lines each, then an empty one."""
    reasons, key = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file.read().splitlines():
            if not line or line.startswith("#"):
                key = None
            elif key is None:
                key = line
            else:
                reasons[key] = line
    return reasons
