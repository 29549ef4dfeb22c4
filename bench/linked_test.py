"""What `bazel run //bench:NAME` measures is hz4, and NAME_system measures what is preloaded. No figure is judged."""

import json
import os
import re
import subprocess
import tempfile
import unittest

BIN = os.environ.get("BENCH_BIN_DIR") or os.path.dirname(os.path.abspath(__file__))
HZ4 = os.path.abspath(os.path.join(BIN, "..", "hz4", "libhz4.so"))
BUMP = os.path.join(BIN, "libbump.so")
SMALL = {
    "asleep": "2 5 300", "churn": "2 20 100", "footprint": "1 90 16 256 2048 0",
    "latency": "2 2 200", "malloc_args": "20000", "mt_remote": "2 20000", "pool": "2 7", "prodcons": "1 1 20000", "replace": "2 2000 10", "scratch": "2 100 10",
    "server": "16 400 50",
}
OUTCOME = r"(?:valid|INVALID, for ([^:]*)): (.*), [\d.,]+(?: million)? operations a second, peak memory \d+ MB"


def run(program, *args, **environment):
    environment = dict({k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "HZ4_STATS")}, **environment)
    return subprocess.run([os.path.join(BIN, program), *args], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def measure(program, *args, **environment):
    """(its output, the JSON object, its stderr)"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "out.json")
        done = run(program, *args, "--json", path, **environment)
        assert done.returncode == 0, (program, done)
        with open(path, encoding="utf-8") as file:
            return done.stdout, json.load(file), done.stderr


class LinkedTest(unittest.TestCase):
    def outcome(self, out):
        """(why the last line says that the run does not count, the allocator that it names)"""
        match = re.fullmatch(OUTCOME, out.splitlines()[-1])
        self.assertTrue(match, out)
        return match.groups()

    def test_hz4_is_linked_in(self):
        for bench, arguments in SMALL.items():
            with self.subTest(bench=bench):
                out, data, err = measure(bench, *arguments.split(), HZ4_STATS="2")
                where = "hz4, linked into " + os.path.join(BIN, bench)
                self.assertEqual(data["malloc"], where)
                self.assertRegex(out, r"(?m)^\[ENV\] .* malloc=%s$" % re.escape(where))
                self.assertEqual(self.outcome(out), (data["invalid"], "hz4"))
                # By hz4's own account: it had a span for the objects, at least.
                counters = json.loads(err)
                self.assertGreater(counters["small_span_opened"] + counters["mid_span_opened"], 0)

    def test_the_system_s_is_not(self):
        for bench, arguments in SMALL.items():
            with self.subTest(bench=bench):
                out, data, err = measure(bench + "_system", *arguments.split(), HZ4_STATS="2")
                self.assertRegex(os.path.basename(data["malloc"]), r"^(libc|ld-musl)")
                self.assertEqual(self.outcome(out), (data["invalid"], os.path.basename(data["malloc"]) + "'s malloc"))
                self.assertEqual(err, "")

    def test_preloads(self):
        for path, name in ((BUMP, "libbump.so's malloc"), (HZ4, "hz4")):
            out, data, _ = measure("malloc_args_system", "1000", LD_PRELOAD=path)
            self.assertEqual((data["malloc"], self.outcome(out)[1]), (path, name))

    def test_a_preload_that_is_in_vain_is_refused(self):
        for bench, arguments in {**SMALL, "micro": "--benchmark_filter=usable"}.items():
            for path in (BUMP, HZ4):
                with self.subTest(bench=bench, path=path):
                    done = run(bench, *arguments.split(), LD_PRELOAD=path)
                    self.assertEqual((done.returncode, done.stdout), (2, ""))
                    self.assertRegex(done.stderr, r"\A%s: %s cannot .* %s_system\n\Z" % (bench, re.escape(path), bench))

    def test_a_preload_without_a_malloc_is_none(self):
        out, data, _ = measure("malloc_args", "1000", LD_PRELOAD="libdl.so.2")
        self.assertEqual(self.outcome(out)[1], "hz4")

    def test_micro(self):
        for program, where in (("micro", "hz4, linked into " + os.path.join(BIN, "micro")), ("micro_system", "libc")):
            done = run(program, "--benchmark_filter=usable", "--benchmark_min_time=0.0001", "--benchmark_format=json")
            self.assertEqual(done.returncode, 0)
            self.assertIn(where, json.loads(done.stdout)["context"]["malloc"])

    def test_mt_remote_without_arguments(self):
        # On one CPU, where sixteen threads cannot run at once, and on what there is.
        for cpus in ({min(os.sched_getaffinity(0))}, os.sched_getaffinity(0)):
            was = os.sched_getaffinity(0)
            os.sched_setaffinity(0, cpus)
            try:
                out, data, err = measure("mt_remote")
            finally:
                os.sched_setaffinity(0, was)
            matched = len(cpus) < 16
            self.assertEqual(err, "")
            self.assertTrue(out.startswith(
                "[BENCH_ARGS] threads=16 iters=2000000 ws=400 min=16 max=32768 remote_pct=90 ring_slots=%d matched=%d "
                "touch=first seed=1 pin=0 verify=0\n" % (1024 if matched else 65536, matched)), out)
            self.assertEqual(out.count("\n[NOTE] 16 threads on %d CPUs: matched" % len(cpus)), matched)
            invalid, name = self.outcome(out)
            self.assertEqual(name, "hz4")
            # Who else uses the machine is not known; but nothing else may be wrong with it.
            if matched and invalid is not None:
                self.assertRegex(invalid, r"^it ran on [\d.]+ of \d+ CPUs")

    def test_arguments_are_as_given(self):
        out, data, _ = measure("mt_remote", "16", "1000")
        self.assertEqual((data["args"]["matched"], data["args"]["ring_slots"]), (0, 65536))
        self.assertNotIn("[NOTE]", out)
        out, data, _ = measure("mt_remote", "--lane", "guard", "--touch=none")
        self.assertEqual((data["args"]["threads"], data["args"]["max"]), (16, 2048))


if __name__ == "__main__":
    unittest.main()
