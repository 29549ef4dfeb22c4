"""compare: what counts and how it ranks, on made-up samples; its arguments; one small run."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import compare_stats as stats  # noqa: E402

BIN = os.environ.get("BENCH_BIN_DIR") or HERE
HZ4 = os.path.abspath(os.path.join(BIN, "..", "hz4", "libhz4.so"))


def sample(mops, number=1, **changes):
    made = {
        "ops_per_s": mops * 1e6, "threads": 2, "cpus_delivered": 1.95, "peak_rss_kb": 2048, "ping_pong_ns": 100.0,
        "remote_target_pct": 90, "remote_actual_pct": 90.1, "fallback_pct": 0.0, "round": number, "invalid": None,
    }
    made.update(changes)
    return made


def samples(*mops, **changes):
    return [sample(m, i, **changes) for i, m in enumerate(mops, 1)]


class ValidityTest(unittest.TestCase):
    def test_cpus_of_micro(self):
        self.assertIsNone(stats.too_few_cpus(0.85))
        self.assertIn("0.84 of 1 CPUs", stats.too_few_cpus(0.84))

    def test_half_of_the_rounds(self):
        good, bad = sample(1), sample(1, invalid="few sent")
        self.assertTrue(stats.is_valid([good, bad], 2))
        self.assertFalse(stats.is_valid([good, bad, bad], 3))
        self.assertFalse(stats.is_valid([], 0))


class SummaryTest(unittest.TestCase):
    def rows(self, runs, rounds=3):
        return stats.summarise(runs, rounds)

    def test_ranks_and_ratios(self):
        rows = self.rows({"glibc": samples(10, 11, 90), "hz4": samples(30, 33, 27), "fast": samples(20, 22, 18)})
        self.assertEqual([(r["name"], r["rank"]) for r in rows], [("hz4", 1), ("fast", 2), ("glibc", 3)])
        self.assertEqual([round(r["vs_best"], 3) for r in rows], [1.5, 1.0, 0.55])
        self.assertEqual((rows[2]["low"], rows[2]["high"]), (10e6, 90e6))
        self.assertAlmostEqual(rows[0]["mad_pct"], 10)
        self.assertAlmostEqual(rows[0]["paired"], 1.5)

    def test_best_is_never_hz4(self):
        rows = self.rows({"hz4": samples(30), "slow": samples(10)}, 1)
        self.assertEqual([r["vs_best"] for r in rows], [3.0, 1.0])
        self.assertNotIn("vs_best", self.rows({"hz4": samples(30)}, 1)[0])

    def test_paired_ratio_cancels_drift(self):
        rows = self.rows({"hz4": samples(20, 40, 80), "peer": samples(10, 20, 40)})
        self.assertEqual(rows[0]["paired"], 2.0)
        # Only rounds where both count.
        peer = [sample(10, 1), sample(99, 2, invalid="few sent"), sample(40, 3)]
        rows = self.rows({"hz4": samples(20, 40, 80), "peer": peer})
        self.assertEqual(rows[0]["paired"], 2.0)

    def test_held_out_ratio_is_free_of_luck(self):
        def held_out(**others):
            return stats.held_out_ratio(samples(100, 100, 100, 100), {n: samples(*mops) for n, mops in others.items()})

        # Each is ahead in its half of the rounds by chance, and behind in the other.
        self.assertAlmostEqual(held_out(odd=(125, 80, 125, 80), even=(80, 125, 80, 125)), 1.25)
        self.assertAlmostEqual(held_out(fast=(200, 160, 200, 160), slow=(50, 50, 50, 50)), 0.5 * 1.25 ** 0.5)
        self.assertIsNone(stats.held_out_ratio(samples(100), {"only": samples(100)}))
        self.assertIsNone(held_out())

    def test_invalid_runs_do_not_count(self):
        runs = [sample(10, 1), sample(500, 2, invalid="few sent"), sample(12, 3)]
        row = self.rows({"a": runs})[0]
        self.assertEqual((row["ops_per_s"], row["counted"], row["runs"]), (11e6, 2, 3))

    def test_invalid_rows_are_shown_and_never_ranked(self):
        runs = {"hz4": samples(20, 20, 20), "peer": samples(10, 10, 10),
                "cheat": samples(900, 900, 900, invalid="few sent"), "dead": [{"error": "signal 11", "round": 1}]}
        runs["dead"][0]["invalid"] = "signal 11"
        for ceiling in (False, True):
            if ceiling:
                runs["ceiling"] = samples(999, 999, 999, invalid="1.00 of 2 CPUs")
            rows = {r["name"]: r for r in self.rows(runs)}
            self.assertEqual({n: r.get("rank") for n, r in rows.items() if n != "ceiling"},
                             {"hz4": 1, "peer": 2, "cheat": None, "dead": None})
            self.assertEqual(rows["hz4"]["vs_best"], 2.0, "an INVALID row is nobody's best")
            self.assertNotIn("vs_best", rows["cheat"])
            self.assertNotIn("ns_over_ceiling", rows["hz4"])
            for markdown in (False, True):
                lines = stats.render(list(rows.values()), markdown).splitlines()
                shown = [line for line in lines if "cheat" in line or "dead" in line]
                self.assertEqual(len(shown), 2)
                for line in shown:
                    self.assertIn("INVALID", line)
                    self.assertRegex(line, r"^\|? *- ")

    def test_ceiling_is_never_ranked(self):
        rows = self.rows({"ceiling": samples(100), "hz4": samples(50), "peer": samples(25)}, 1)
        self.assertEqual([(r["name"], r.get("rank")) for r in rows], [("hz4", 1), ("peer", 2), ("ceiling", None)])
        self.assertEqual(rows[0]["vs_best"], 2.0)
        self.assertAlmostEqual(rows[0]["ns_over_ceiling"], 10)
        self.assertAlmostEqual(rows[1]["ns_over_ceiling"], 30)

    def test_resident_sets_that_a_benchmark_measured(self):
        def run(*kb):
            return [sample(1, i, extra={"kept_kb": 1, "rss_end_kb": k, "rss_ended_kb": 10 * k})
                    for i, k in enumerate(kb, 1)]

        rows = self.rows({"hz4": run(1024, 4096, 2048), "dead": [{"error": "exit 1", "round": 1, "invalid": "exit 1"}]})
        self.assertEqual((rows[0]["rss_end_kb"], rows[0]["rss_ended_kb"]), (2048, 20480))
        self.assertEqual(stats.extra_keys(*rows), ["rss_end_kb", "rss_ended_kb"])
        head, first, second = stats.render(rows).splitlines()
        self.assertRegex(head, r" RSS MB +rss end MB +rss ended MB +CPUs ")
        self.assertRegex(first, r" 2\.0 +2\.0 +20\.0 +1\.95 ")
        self.assertRegex(second, r"dead( +-){11} +0/1 +INVALID: exit 1$")
        self.assertNotIn("rss", stats.render(self.rows({"hz4": samples(1)}, 1)))

    def test_verdict(self):
        runs = {"hz4": samples(30), "fast": samples(20, peak_rss_kb=4096), "slow": samples(10),
                "cheat": samples(99, invalid="few sent"), "ceiling": samples(500)}
        self.assertEqual(stats.verdict(self.rows(runs, 1)),
                         "hz4 has 1.50 times the speed of the best other, fast, with a peak of 2 MB instead of 4.")
        del runs["fast"], runs["slow"]
        self.assertEqual(stats.verdict(self.rows(runs, 1)), "hz4 is alone.")
        runs["hz4"] = samples(30, invalid="few sent")
        self.assertIn("few sent", stats.verdict(self.rows(runs, 1)))

    def test_brief(self):
        rows = self.rows({"hz4": samples(3), "b": samples(2, invalid="why")}, 1)
        head, *lines = stats.render(rows, brief=True).splitlines()
        self.assertEqual(head.split("  ")[0], "#")
        self.assertNotRegex(head, "MAD|CPUs|paired")
        self.assertRegex(lines[1], r"^- +b .*0/1 +INVALID: why$")

    def test_few_operations_are_shown_too(self):
        self.assertEqual([stats.mops(v) for v in (123456789, 1e6, 12345, 0)], ["123.46", "1.00", "0.0123", "0.0000"])

    def test_cases(self):
        def run(ns, **changes):
            return {"threads": 1, "cpus_delivered": 1.0, "round": 1, "invalid": None, "cases": {"x": ns}, **changes}
        runs = {"hz4": [run(2.0)], "peer": [run(3.0)], "cheat": [run(0.1, invalid="0.50 of 1 CPUs delivered")]}
        text = stats.render_cases(runs, 1)
        self.assertIn("cheat (INVALID)", text)
        self.assertEqual([line.split()[-1] for line in text.splitlines()[1:]], ["1.500", "1.500"])


class CommandTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def compare(self, *args):
        environment = dict(os.environ, BUILD_WORKING_DIRECTORY=self.folder)
        command = [sys.executable, os.path.join(HERE, "compare.py"), "--bin-dir", BIN, *args]
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_bad_arguments_get_one_line_and_exit_2(self):
        bench = ("--", "mt_remote", "1", "100")
        for args, named in [
            (("--peer", "x=missing.so", *bench), "missing.so"),
            (("--peer", "missing.so", *bench), "NAME=PATH"),
            (("--peer", "x=/bin/sh:VAR", *bench), "NAME=PATH"),
            (("--peer", "x=/bin/sh:=1", *bench), "NAME=PATH"),
            (("--peer", "glibc=/bin/sh", *bench), "taken"),
            (("--only", "nosuch", *bench), "nosuch"),
            (("--only", "hz4", "--hz4", "missing.so", *bench), "missing.so"),
            (("--rounds", "0", *bench), "--rounds"),
            (("--rounds", "x", *bench), "--rounds"),
            (("--retries", "-1", *bench), "--retries"),
            (("--nosuch", *bench), "nosuch"),
            (("--", "nosuch", "1"), "nosuch"),
            (("--", "./nosuch", "1"), "nosuch"),
            (("--ceiling", "--", "micro"), "--ceiling"),
            (("--json", "file"), "of which benchmark"),
            (("--json", "no/such/file", "--only", "glibc", *bench), "--json"),
        ]:
            with self.subTest(args=args):
                done = self.compare(*args)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertRegex(done.stderr, r"\Acompare: [^\n]+\n\Z")
                self.assertIn(named, done.stderr)

    def test_the_benchmark_s_own_complaint(self):
        done = self.compare("--only", "glibc", "--", "mt_remote", "0")
        self.assertEqual(done.returncode, 2)
        self.assertIn("threads must be", done.stderr.splitlines()[-1])

    def test_a_preload_that_does_nothing_is_an_error(self):
        path = os.path.join(self.folder, "not-a-library.so")
        with open(path, "w", encoding="utf-8") as file:
            file.write("text")
        done = self.compare("--only", "glibc", "--peer", "fake=not-a-library.so", "--", "malloc_args", "100")
        self.assertEqual(done.returncode, 1)
        self.assertIn("had no effect", done.stderr.splitlines()[-1])

    def test_a_run(self):
        args = ["--only", "glibc", "--peer", "bump=" + os.path.join(BIN, "libbump.so"), "--rounds", "3", "--retries",
                "1", "--json", "out.json", "--", "mt_remote", "2", "2000", "400", "16", "64", "--verify"]
        done = self.compare(*args)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("glibc", "bump", "ceiling"):
            self.assertRegex(done.stdout, r"(?m)^ *[-\d]+ +%s " % name)
            self.assertEqual(sum("round" in line and name in line for line in done.stderr.splitlines()), 3)
        with open(os.path.join(self.folder, "out.json"), encoding="utf-8") as file:
            data = json.load(file)
        self.assertEqual(data["command"], "mt_remote 2 2000 400 16 64 --verify")
        self.assertEqual({s["round"] for s in data["samples"]}, {1, 2, 3})
        self.assertEqual({s["args"]["touch"] for s in data["samples"] if s["allocator"] == "ceiling"}, {"none"})
        self.assertEqual({s["args"]["verify"] for s in data["samples"] if s["allocator"] == "ceiling"}, {0})
        self.assertTrue(data["machine"]["cpu"])
        self.assertTrue(data["allocators"]["ceiling"]["bytes"])

    def test_runs_of_those_that_measure_resident_sets(self):
        for bench, named in (("server 2 200 10", "rss end MB +rss dropped MB +rss ended MB"),
                             ("pool 2 2 16384 65536 1", "rss asleep MB +rss trimmed MB +rss chain MB")):
            done = self.compare("--only", "glibc", "--rounds", "1", "--retries", "0", "--", *bench.split())
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, named)

    def test_without_a_benchmark(self):
        done = self.compare("--only", "hz4,glibc", "--hz4", HZ4, "--rounds", "1", "--retries", "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("ceiling", done.stdout)
        guard, main = done.stdout.index("\nguard: 16 threads on "), done.stdout.index("\nmain: 16 threads on ")
        for lane in (done.stdout[guard:main], done.stdout[main:]):
            self.assertRegex(lane, r"(?m)^# +allocator +M ops/s +min\.\.max +vs best +RSS MB +runs$")
            for name in ("hz4", "glibc"):
                row = re.search(r"(?m)^ *([12-]) +%s .* ([01])/1(.*)$" % name, lane)
                self.assertTrue(row, lane)
                # Matched, so that nothing but the CPUs can be missing.
                wanted = r"^$" if row[2] == "1" else r"^ +INVALID: it ran on [\d.]+ of \d+ CPUs"
                self.assertRegex(row[3], wanted)
                self.assertEqual(row[1] == "-", row[2] == "0")
            self.assertRegex(lane, r"(?m)^hz4 (has [\d.]+ times the speed of the best other, glibc, with a peak of \d+ "
                                   r"MB instead of \d+\.|is alone\.|is not ranked, .*)$")
        self.assertRegex(done.stdout, r"(?m)^hz4 +/.*/libhz4\.so\nglibc +glibc [\d.]+$")
        self.assertEqual(os.listdir(self.folder), [])

    def test_no_round_begins_too_late(self):
        done = self.compare("--only=glibc", "--rounds=1000", "--for=1", "--no-ceiling", "--retries=0",
                            "--json=out.json", "mt_remote", "1", "100000")
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(self.folder, "out.json"), encoding="utf-8") as file:
            data = json.load(file)
        self.assertLess(data["rounds"], 1000)
        self.assertEqual(data["rounds"], len(data["samples"]))
        self.assertIn("(%d rounds," % data["rounds"], done.stdout)

    def test_a_program_that_does_not_judge_its_runs(self):
        bench = os.path.join(self.folder, "bench")
        with open(bench, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho '{\"malloc\": \"libc.so\"}' >\"$2\"\n")
        os.chmod(bench, 0o755)
        done = self.compare("--only", "glibc", "--rounds=1", "--json=out.json", "--", bench)
        self.assertEqual(done.returncode, 1)
        self.assertIn("'invalid'", done.stderr.splitlines()[-1])

    def test_a_peer_runs_with_its_environment_variables(self):
        made = {"threads": 1, "cpus_delivered": 1, "ops_per_s": 1000, "peak_rss_kb": 1, "ping_pong_ns": 1,
                "malloc": "MALLOC", "invalid": None}
        bench = os.path.join(self.folder, "bench")
        with open(bench, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\nsed \"s|MALLOC|${LD_PRELOAD:-libc.so}|; s|1000|${SPEED:-1000}|\" >\"$2\" <<END\n"
                       + json.dumps(made) + "\nEND\n")
        os.chmod(bench, 0o755)
        path = os.path.join(BIN, "libbump.so")
        done = self.compare("--only", "glibc", "--peer", "plain=" + path,
                            "--peer", "fast=" + path + ":SPEED=2000:X=:Y=1=2", "--rounds=1", "--retries=0",
                            "--json=out.json", "--", bench)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(self.folder, "out.json"), encoding="utf-8") as file:
            data = json.load(file)
        self.assertEqual({s["allocator"]: s["ops_per_s"] for s in data["samples"]},
                         {"glibc": 1000, "plain": 1000, "fast": 2000})
        self.assertEqual(data["allocators"]["fast"]["settings"], {"SPEED": "2000", "X": "", "Y": "1=2"})
        self.assertEqual(data["allocators"]["plain"]["settings"], {})

    def test_no_ceiling_and_default_json(self):
        done = self.compare("--only=glibc", "--rounds=1", "--no-ceiling", "--retries=0", "mt_remote", "1", "1000")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("ceiling ", done.stdout.replace("over ceiling", ""))
        name = done.stdout.splitlines()[-1].split()[-1]
        self.assertRegex(name, r"^compare-mt_remote-[\d-]+\.json$")
        self.assertTrue(os.path.exists(os.path.join(self.folder, name)))

    def test_micro(self):
        done = self.compare("--only", "glibc", "--rounds", "1", "--retries", "0", "--", "micro",
                            "--benchmark_filter=usable", "--benchmark_min_time=0.001")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("BM_usable_size/64", done.stdout)

    def test_help(self):
        done = self.compare("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("--peer NAME=PATH", done.stdout)


if __name__ == "__main__":
    unittest.main()
