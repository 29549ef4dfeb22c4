"""programs: its arguments, what proves a preload, going on where it was, what it makes of results."""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import programs  # noqa: E402
from matrix import load as read_json  # noqa: E402
from program_loads import LOADS, NOT_ROOT, Load  # noqa: E402

HZ4 = os.path.realpath(os.path.join(HERE, "..", "hz4", "libhz4.so"))
LINE = "      7:\tbinding file %s [0] to %s [0]: normal symbol `%s' [GLIBC_2.2.5]\n"


def run(*args):
    return subprocess.run([sys.executable, os.path.join(HERE, "programs.py"), *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def row(name, seconds, rss_mb, valid=True):
    return {"name": name, "valid": valid, "ops_per_s": 1 / seconds, "mad_pct": 1.0, "peak_rss_kb": rss_mb * 1024,
            "cpu_s": seconds, "paired": 1 / seconds}


def skipped():
    if shutil.which("time", path=programs.PATH) is None:
        print("SKIPPED: GNU time is not installed")
        return True
    return False


class ProgramsTest(unittest.TestCase):
    def test_bad_arguments(self):
        for arguments, word in ((("--programs", "gcc,nothing"), "'nothing'"), (("--rounds", "0"), "'0'"),
                                (("--for", "x"), "'x'"), (("one", "two"), "two"), (("--only", "y"), "'y'"),
                                (("--peer", "x=/nowhere"), "/nowhere")):
            done = run(*arguments)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done)
            self.assertIn(word, done.stderr)

    def test_list(self):
        self.assertEqual([line.split()[0] for line in run("--list").stdout.splitlines()], list(LOADS))

    def test_no_results(self):
        done = run("--report", "/nowhere")
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done)

    def bindings(self, path, *lines):
        with tempfile.NamedTemporaryFile("w") as file:
            file.writelines(LINE % line for line in lines)
            file.flush()
            return programs.check_bindings([file.name], path)

    def test_bindings(self):
        taken, own = ("prog", "/lib/a.so", "malloc"), ("prog", "prog", "malloc")
        self.assertEqual(self.bindings("/lib/a.so", own, taken, ("prog", "/lib/libc.so.6", "free")), 1)
        for lines, word in (((taken, ("c.so", "/lib/libc.so.6", "malloc")), "libc.so.6's"), ((own,), "no process")):
            with self.assertRaisesRegex(programs.Failed, word):
                self.bindings("/lib/a.so", *lines)

    def test_a_run(self):
        if skipped():
            return
        with tempfile.TemporaryDirectory() as folder:
            bench = programs.Bench(Load("x", "sort rows", (), setup="seq 9 >rows; seq 9 >>rows"), folder, 60)
            plain, preloaded = bench.run({}), bench.run({"LD_PRELOAD": HZ4})
            self.assertEqual(plain["output"], preloaded["output"])
            self.assertGreater(plain["peak_rss_kb"], 500)
            self.assertGreater(plain["seconds"], 0)
            expected, processes = programs.check(argparse.Namespace(peer_settings={}), bench,
                                                 {"hz4": HZ4, "glibc": None})
            self.assertEqual((expected, processes), (plain["output"], {"hz4": 1, "glibc": 1}))
            self.assertIn("printed something else", programs.sample_of(bench, {}, "0")["error"])
            self.assertIn("had no effect", self.failure(programs.check, argparse.Namespace(peer_settings={}), bench,
                                                        {"not": __file__}))
            for command, word in (("sh -c 'echo why >&2; exit 3'", "exit 3 why"), ("true", "exit 1 of: test")):
                bad = programs.Bench(Load("x", command, ()), folder, 60)
                self.assertIn(word, programs.sample_of(bad, {}, "")["error"])

    def test_servers_and_a_jvm(self):
        if skipped():
            return
        options = argparse.Namespace(peer_settings={})
        for load in (LOADS[name] for name in ("redis-clients", "postgres", "nginx", "java")):
            missing = [program for program in load.needs if shutil.which(program, path=programs.PATH) is None]
            if missing or "unshare" in load.needs and subprocess.run([*NOT_ROOT.split(), "true"]).returncode:
                print("SKIPPED: %s: %s" % (load.name, missing[0] + " is missing" if missing else "no namespaces"))
                continue
            with self.subTest(load.name), tempfile.TemporaryDirectory() as folder:
                _, processes = programs.check(options, programs.Bench(load, folder, 120), {"hz4": HZ4})
                self.assertGreaterEqual(processes["hz4"], 1)

    def failure(self, function, *arguments):
        with self.assertRaises(programs.Failed) as raised:
            function(*arguments)
        return str(raised.exception)

    def test_an_interrupted_run_goes_on(self):
        if skipped():
            return
        load, said = Load("x", "echo a", ()), io.StringIO()
        with tempfile.TemporaryDirectory() as out, redirect_stderr(said):
            options = programs.parse(["--rounds", "1", "--retries", "0", out])
            options.peer_settings = {}
            for rounds, deadline, has in ((1, 1e99, 1), (1, 0, 1), (3, 0, 1), (3, 1e99, 3)):
                options.rounds = rounds
                self.assertTrue(programs.run_program(options, load, {"glibc": None}, deadline))
                data = read_json(os.path.join(out, "x.json"))
                self.assertEqual([s["round"] for s in data["samples"]], list(range(1, has + 1)))
                self.assertEqual(data["rounds"], has)
            programs.run_program(options, load, {"glibc": None, "hz4": HZ4}, 1e99)  # others: from the start
            self.assertEqual(len(read_json(os.path.join(out, "x.json"))["samples"]), 6)
        self.assertIn("there already", said.getvalue())
        self.assertIn("stopped before round 2", said.getvalue())

    def test_tables(self):
        rows = [row("hz4", 2.0, 30), row("fast", 1.0, 60), row("small", 4.0, 15), row("wrong", 0.1, 1, valid=False)]
        # The second round is on a machine three times as slow.
        samples = [dict(r, allocator=r["name"], round=number, invalid=None, ops_per_s=r["ops_per_s"] / slow)
                   for number, slow in ((1, 1), (2, 3)) for r in rows]
        line = programs.judge_paired("one", {"rows": rows, "samples": samples})
        self.assertEqual(line["paired"], {"fast": 0.5, "small": 2.0})
        self.assertRegex(programs.main_table([line]).splitlines()[2], r"one .*2\.000 .*fast 1\.000 .* 0\.500 .*wrong")
        self.assertEqual(programs.over_hz4([line], lambda r: r["peak_rss_kb"]), {"one": {"fast": 2.0, "small": 0.5}})
        last = programs.ratio_table("time", {"one": line["paired"], "two": {"fast": 2.0}}).splitlines()[-1]
        self.assertEqual(last.split(), "| geometric mean | 1.000 | 2.000 |".split())


if __name__ == "__main__":
    unittest.main()
