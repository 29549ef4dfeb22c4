"""hz4 stats and hz4 top: figures of a process that runs, by the file that it writes."""

import json
import os
import re
import shutil
import sys
import tempfile
import unittest

from command import LIBRARY, Running, clean, hz4, subject
from statistics_made_up import document

LIVE = os.path.abspath("cmd/test/live_subject.py")


class StatsTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.file = os.path.join(self.folder, "stats.json")

    def live(self, *texts, **variables):
        variables = {"HZ4_STATS_FILE": self.file, **variables}
        return Running(sys.executable, LIVE, self.file, *texts, env=clean(**variables))

    def no(self, word, *arguments):
        status, out, err = hz4(*arguments)
        self.assertEqual((status, out, err.count("\n")), (1, "", 1), err)
        self.assertIn(word, err)

    def test_as_they_were_written(self):
        text = document(allocated_bytes=3 << 20, cached_bin_bytes=1 << 20, resident_bytes=5 << 20)
        with self.live(text) as process:
            status, out, err = hz4("stats", process.pid)
            self.assertEqual((status, err), (0, ""))
            self.assertRegex(out, r"(?m)^in use +3\.0 MiB +75%$")
            self.assertRegex(out, r"(?m)^in caches +1\.0 MiB +25%$")
            self.assertRegex(out, r"(?m)^together +4\.0 MiB$")
            self.assertRegex(out, r"(?m)^resident +5\.0 MiB$")
            its = text.replace('"pid": 7,', '"pid": %s,' % process.pid)
            self.assertEqual(hz4("stats", "--json", process.pid), (0, its, ""))
            every = hz4("stats", "-a", process.pid)[1]
            self.assertRegex(every, r"(?m)^allocated_bytes +3145728$")
            self.assertRegex(every, r"(?m)^classes\.0\.live_objects +3$")
            self.assertRegex(every, r"(?m)^version +0\.1\.0$")

    def test_at_a_signal(self):
        with self.live(document(), document(allocated_bytes=2 << 20), HZ4_STATS_SIGNAL="USR2") as process:
            self.assertRegex(hz4("stats", process.pid)[1], r"(?m)^in use +2\.0 MiB")

    def test_who_does_not_wait_for_the_signal_is_not_ended_by_it(self):
        for number in ("USR2", "9", "77"):
            with Running(subject(), env=clean(HZ4_STATS_FILE=self.file, HZ4_STATS_SIGNAL=number)) as process:
                self.no("no handler", "stats", process.pid)
                self.no("no handler", "top", process.pid)
                os.kill(int(process.pid), 0)
                with open("/proc/%s/stat" % process.pid, encoding="utf-8") as file:
                    self.assertNotEqual(file.read().split(") ")[1][0], "Z", "it has ended")

    def test_who_ends_meanwhile_is_not_waited_for(self):
        """One that its signal ends where it should write, and is a zombie as long as this one waits for nobody."""
        end = "import os, signal; signal.signal(signal.SIGUSR2, lambda *_: os._exit(0)); print(1, flush=True); signal.pause()"
        with Running(sys.executable, "-c", end, env=clean(HZ4_STATS_FILE=self.file, HZ4_STATS_SIGNAL="USR2")) as process:
            self.no("it has ended", "stats", process.pid)

    def test_its_own_environment(self):
        """What it says to hz4 is for other programs: no report on stderr, and no file of this one's."""
        with self.live(document()) as process:
            options = {"HZ4_STATS_FILE": self.file, "HZ4_STATS_SECONDS": "1", "HZ4_STATS": "1", "HZ4_VERBOSE": "1",
                       "HZ4_NONE": "1", "HZ4_PROFILE": os.path.join(self.folder, "p"), "HZ4_LIMIT": "1:1"}
            status, out, err = hz4("stats", process.pid, env=clean(**options))
            self.assertEqual((status, err), (0, ""))
            with open(self.file, encoding="utf-8") as file:
                self.assertIn('"pid": %s,' % process.pid, file.read())
            self.assertEqual(os.listdir(self.folder), ["stats.json"])

    def test_another_process_has_written_the_file(self):
        with self.live(document(pid=8)) as process:
            self.no("of process 8", "stats", process.pid)

    def test_a_process_that_has_written_over_its_environment(self):
        with self.live(document(), document(allocated_bytes=2 << 20), HZ4_STATS_FILE="") as process:
            words = ("-f", self.file, "-s", "USR2", process.pid)
            self.assertRegex(hz4("stats", *words)[1], r"(?m)^in use +2\.0 MiB")
            self.assertEqual(hz4("top", "-n", "1", *words)[0], 0)

    def test_files_of_processes(self):
        self.file = os.path.join(self.folder, "%p.json")
        with self.live(document(allocated_bytes=1), HZ4_STATS_FILE=self.file) as process:
            os.rename(self.file, self.file.replace("%p", process.pid))
            self.assertEqual(hz4("stats", process.pid)[0], 0)

    def test_from_another_folder(self):
        with Running(sys.executable, LIVE, self.file, document(), env=clean(HZ4_STATS_FILE="here.json")) as process:
            here = os.path.join(os.readlink("/proc/%s/cwd" % process.pid), "here.json")
            shutil.move(self.file, here)
            self.addCleanup(os.remove, here)
            self.assertEqual(hz4("stats", process.pid)[0], 0)

    def test_top(self):
        texts = [document(allocated_bytes=n << 20, os_purged_bytes=n << 30) for n in (1, 2, 3)]
        with self.live(*texts, HZ4_STATS_SIGNAL="USR2") as process:
            status, out, err = hz4("top", "-n", "2", "-d", "0.01", process.pid)
            self.assertEqual((status, err), (0, ""))
            first, second = out.split("\n\n")
            self.assertRegex(first, r"\Aprocess +%s\nin use +2\.0 MiB" % process.pid)
            self.assertNotIn("/s", first)
            self.assertRegex(second, r"\Aprocess +%s\nin use +3\.0 MiB" % process.pid)
            # A GiB within the hundredth of a second, or on a busy machine within a minute.
            self.assertGreater(int(re.search(r"(?m)^purged bytes +(\d+)/s$", second).group(1)), 1 << 24)

    def test_there_are_none(self):
        for command in ("stats", "top"):
            with Running(subject(), env=clean(HZ4_STATS_FILE="x.prom")) as process:
                self.no("not end in .json", command, process.pid)
            with Running(subject(), env=clean(HZ4_STATS_FILE=self.file + ".json")) as process:
                self.no("No such file", command, process.pid)
            with Running(subject(), env=clean()) as process:
                self.no("LD_PRELOAD is not set", command, process.pid)
            with Running(subject(), env=clean(LD_PRELOAD=LIBRARY)) as process:
                self.no("no HZ4_STATS_FILE", command, process.pid)
            for text, word in (("", "no JSON"), ("{", "no JSON"), ("7", "no statistics"), ("{}", "no statistics"),
                               (document(schema=99), "schema 99"), (document()[:100], "no JSON")):
                with self.live(text) as process:
                    self.no(word, command, process.pid)

    def test_bad_usage(self):
        for words in (("stats",), ("stats", "1", "2"), ("stats", "x"), ("stats", "-x", "1"), ("top",), ("top", "-d"),
                      ("top", "-d", "0", "1"), ("top", "-n", "x", "1"), ("top", "-d", "nan", "1"), ("top", "1x"), ("stats", "-f"),
                      ("stats", "-s", "FOO", "1"), ("stats", "-s", "99", "1"), ("top", "-s", "", "1")):
            status, out, err = hz4(*words)
            self.assertEqual((status, out, err.count("\n")), (2, "", 1), (words, err))
        for command in ("stats", "top"):
            self.no("no process", command, "999999999")
            self.assertTrue(hz4(command, "--help")[1].startswith("usage: hz4 " + command))

    def test_hz4_itself(self):
        """What the library writes is what the command reads."""
        with Running(subject(), env=clean(LD_PRELOAD=LIBRARY, HZ4_STATS_FILE=self.file, HZ4_STATS_SIGNAL="USR2")) as process:
            status, out, err = hz4("stats", "--json", process.pid)
            self.assertEqual((status, err), (0, ""))
            names = json.loads(out)
            self.assertEqual(set(json.loads(document())) - set(names), set())
            self.assertEqual((names["pid"], names["schema"]), (int(process.pid), 1))
            self.assertEqual(hz4("stats", process.pid)[0], 0)
            self.assertEqual(hz4("top", "-n", "2", "-d", "0.01", process.pid)[0], 0)
        self.assertIn("process %s" % process.pid, hz4("report", self.file)[1])


if __name__ == "__main__":
    unittest.main()
