"""The stack that any call into hz4 may use, by the compiler's own count: compiles every file of hz4 with
-fcallgraph-info=su, and adds up the frames of the deepest chain of calls from each function.

stack_usage_test.py <flag>... <source>...: sources are the arguments that end in .c; headers are passed over.

What libc's functions use at the end of a chain is not counted here; stack_test measures it with the rest.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest

FLAGS = [argument for argument in sys.argv[1:] if argument.startswith("-")]
SOURCES = [argument for argument in sys.argv[1:] if argument.endswith(".c")]

BYTES_MAX = 4096
# Calls by a pointer: who makes them, and what they lead to. Of these LIBC goes on to functions of libc's, and the operators
# to those of the C++ library.
INDIRECT = "__indirect_call"
LIBC = ["hz4/shim.c:usable_size", "hz4/shim.c:release"]
CALLBACKS = [
    ("hz4_options_|hz4/options.c:", ["hz4_warn"]),
    ("hz4_meta_make_shard", ["hz4/mid.c:begin", "hz4/segment.c:begin"]),
    ("hz4_(mid|large|segment)_fork|hz4/thread.c:give_up_locks",
     ["hz4_lock_fork_acquire", "hz4_lock_fork_release", "hz4_lock_fork_reset"]),
    ("hz4_alloc_|hz4/alloc.c:", ["hz4/stats_file.c:look", "hz4/shim.c:holds"] + LIBC),
    ("hz4_stats_|hz4/stats_file.c:write_to", ["hz4_stats_put_report", "hz4_stats_put_json"]),
    ("hz4_sample_|hz4/sample.c:", ["hz4/profile.c:on_alloc", "hz4/profile.c:on_free"]),
    ("hz4_report_pointer", ["hz4/report.c:class_bytes", "hz4/report.c:more"]),
    ("hz4/report.c:on_fault", []),  # the program's own handlers
    ("hz4/os.c:grow", ["hz4/thread.c:read_container"]),
    ("hz4_maps_read", ["hz4/profile_write.c:copy_line", "hz4/profile_write.c:add_mapping"]),
]
CXX_LIBRARY = re.compile("hz4_operators_|hz4/operators")

NODE = re.compile(r'^node: \{ title: "([^"]*)" label: "[^"]*\\n(\d+) bytes \(([a-z,]+)\)')
EDGE = re.compile(r'^edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"')


def called_by_pointer(caller):
    """What the function may call so; nothing of hz4's, if it is one that calls libc or the C++ library."""
    if caller in LIBC or CXX_LIBRARY.match(caller):
        return []
    return next((functions for callers, functions in CALLBACKS if re.match(callers, caller)), ["nobody knows of " + caller])


def call_graph(directory):
    """The frame of each function in bytes, what it calls, and functions whose frames have no bound."""
    frames, calls, unbounded = {}, {}, []
    for source in SOURCES:
        output = os.path.join(directory, os.path.basename(source) + ".o")
        command = ["gcc", "-fcallgraph-info=su"] + FLAGS + ["-c", source, "-o", output]
        subprocess.run(command, check=True)
        with open(output[:-len(".o")] + ".ci") as lines:
            for line in lines:
                node, edge = NODE.match(line), EDGE.match(line)
                if node:
                    frames[node.group(1)] = int(node.group(2))
                    if node.group(3) == "dynamic":
                        unbounded.append(node.group(1))
                elif edge and edge.group(2) == INDIRECT:
                    calls.setdefault(edge.group(1), []).extend(called_by_pointer(edge.group(1)))
                elif edge:
                    calls.setdefault(edge.group(1), []).append(edge.group(2))
    return frames, calls, unbounded


def deepest_chains(frames, calls):
    """For each function: the bytes of its deepest chain, and the chain. Recursion is an error: it has no depth."""
    found = {}

    def visit(name, above):
        if name in above:
            raise ValueError("recursion: " + " -> ".join(above + [name]))
        if name not in found:
            below = [visit(callee, above + [name]) for callee in calls.get(name, [])]
            depth, chain = max(below, default=(0, []))
            found[name] = (frames.get(name, 0) + depth, [name] + chain)
        return found[name]

    for name in frames:
        visit(name, [])
    return found


class StackUsageTest(unittest.TestCase):
    def test_no_call_may_use_more(self):
        try:
            subprocess.run(["gcc", "--version"], check=True, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            print("SKIPPED: no gcc, whose count of stack this is")
            return
        with tempfile.TemporaryDirectory() as directory:
            frames, calls, unbounded = call_graph(directory)
        self.assertGreater(len(frames), 100)
        self.assertEqual(unbounded, [])
        called = {callee for callees in calls.values() for callee in callees}
        self.assertEqual({callee for callee in called if callee.startswith("nobody knows of")}, set())
        self.assertLessEqual({name for _, functions in CALLBACKS for name in functions}, set(frames))
        found = deepest_chains(frames, calls)
        for entry in ["malloc", "free", "realloc", "memalign", "hz4_stats_at_exit"]:
            print("%s: %d bytes: %s" % (entry, found[entry][0], " -> ".join(found[entry][1])))
        largest = max(frames, key=frames.get)
        print("of %d functions %s has the largest frame: %d bytes" % (len(frames), largest, frames[largest]))
        depth, chain = max(found.values())
        print("deepest: %d bytes: %s" % (depth, " -> ".join(chain)))
        self.assertLessEqual(depth, BYTES_MAX)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
