"""matrix: its cells, going on where it was, what it makes of results."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import matrix  # noqa: E402


def run(*args):
    return subprocess.run([sys.executable, os.path.join(HERE, "matrix.py"), *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def row(name, mops, rss_mb, valid=True):
    return {"name": name, "valid": valid, "ops_per_s": mops * 1e6, "low": mops * 1e6, "high": mops * 1e6,
            "mad_pct": 1.0, "peak_rss_kb": rss_mb * 1024, "ping_pong_ns": 100.0}


class MatrixTest(unittest.TestCase):
    def test_cells(self):
        table = matrix.cells()
        self.assertEqual(sum("_t" in name and "_r" in name for name in table), 3 * 4 * 3)
        self.assertEqual(sum(name.startswith("prodcons") for name in table), 8)
        self.assertEqual([command.split()[1] for name, command in table.items() if name.startswith("server_w")],
                         ["16", "64", "256", "1000"])
        self.assertEqual([command.split()[1] for name, command in table.items() if name.startswith("replace_t")],
                         ["2", "16"])
        self.assertEqual([command.split()[-1] for name, command in table.items() if name.startswith("scratch_")],
                         ["8", "16", "32"])
        self.assertEqual([command.split()[1] for name, command in table.items() if name.startswith("latency_")],
                         ["1", "2", "16"] * 2)
        for name, command in table.items():
            more_threads_than_cpus = any(t in name for t in ("_t4_r", "_t16_r"))
            self.assertEqual(command.endswith(" 1024 matched"), more_threads_than_cpus, name)

    def test_bad_arguments(self):
        for arguments, word in ((("--cells", "("), "--cells"), (("--cells", "nothing"), "nothing"), (("x",), "x"),
                                (("--out", __file__), __file__)):
            done = run(*arguments)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done)
            self.assertIn(word, done.stderr)

    def test_an_interrupted_run_goes_on(self):
        with tempfile.TemporaryDirectory() as out:
            words = ("--out", out, "--rounds", "1", "--cells", "footprint_small|churn_t4", "--only", "hz4")
            first, second = run(*words), run(*words)
            self.assertEqual((first.returncode, second.returncode), (0, 0), first.stderr + second.stderr)
            self.assertEqual(second.stderr.count("there already"), 2)
            self.assertIn("footprint_small, RSS MB", first.stdout)
            self.assertEqual(first.stdout, second.stdout)
            other = run("--out", out, "--rounds", "2", *words[4:])
            self.assertNotIn("there already", other.stderr)
            for name in ("matrix.md", "matrix.csv", "matrix.json"):
                self.assertTrue(os.path.getsize(os.path.join(out, name)))

    def test_judgement(self):
        rows = [row("hz4", 20, 30), row("fast", 16, 50), row("small", 14, 25), row("tiny", 5, 1),
                row("wrong", 99, 1, valid=False), row("ceiling", 200, 1)]
        line = matrix.judge("main_t2_r90", {"rows": rows})
        self.assertEqual((line["best"]["name"], line["frugal"]["name"]), ("fast", "small"))
        self.assertAlmostEqual(line["speed_ratio"], 20 / 16)
        self.assertAlmostEqual(line["ceiling_ratio"], 200 / 16)
        self.assertAlmostEqual(line["rss_ratio"], 30 / 25)
        self.assertIn("wrong", matrix.speed_table([line]))
        rows[0]["valid"] = False
        self.assertNotIn("speed_ratio", matrix.judge("main_t2_r90", {"rows": rows}))

    def test_resident_sets(self):
        rows = [dict(row("hz4", 20, 30), rss_end_kb=3072, rss_ended_kb=1024),
                dict(row("small", 5, 9), rss_end_kb=2048, rss_ended_kb=2048), {"name": "dead", "valid": False}]
        head, _, first, second = matrix.extra_table("server_w16", {"rows": rows}).splitlines()
        self.assertRegex(head, r"server_w16 +\| +rss end MB +\| +rss ended MB")
        self.assertRegex(first, r"small +\| +2\.0 +\| +2\.0 ")
        self.assertRegex(second, r"hz4 +\| +3\.0 +\| +1\.0 ")
        self.assertEqual(matrix.extra_table("asleep", {"rows": [row("hz4", 20, 30)]}), "")

    def test_latencies(self):
        rows = [dict(row("hz4", 20, 30), malloc_p50_ns=20, free_p9999_ns=5000, touch_max_ns=7)]
        head, _, line = matrix.extra_table("latency_guard_t1", {"rows": rows}).splitlines()
        self.assertRegex(head, r"malloc p50 ns +\| +free p99\.99 ns +\| +touch max ns")
        self.assertRegex(line, r"hz4 +\| +20 +\| +5000 +\| +7 ")

    def test_the_report_has_resident_sets(self):
        with tempfile.TemporaryDirectory() as out:
            rows = [dict(row("hz4", 20, 30), rss_chain_kb=3072)]
            with open(os.path.join(out, "pool_forks.json"), "w", encoding="utf-8") as file:
                json.dump({"rows": rows, "samples": []}, file)
            done = run("--out", out, "--report")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("rss chain MB", done.stdout)
            with open(os.path.join(out, "matrix.csv"), encoding="utf-8") as file:
                self.assertTrue(file.readline().strip().endswith(",ping_pong_ns,rss_chain_kb"))

    def test_plots(self):
        try:
            import matrix_plots
        except ImportError:
            print("SKIPPED: matplotlib is not installed")
            return
        with tempfile.TemporaryDirectory() as out:
            rows = [row("hz4", 20, 30), row("glibc", 10, 30)]
            matrix_plots.draw(out, [matrix.judge("main_t%d_r90" % t, {"rows": rows}) for t in (2, 4, 16)])
            self.assertEqual(sorted(os.listdir(out)), ["medians_main.svg", "scaling.svg", "speed_against_memory.svg"])


if __name__ == "__main__":
    unittest.main()
