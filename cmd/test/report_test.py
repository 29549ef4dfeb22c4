"""hz4 report: where memory is, in words, by made-up statistics."""

import os
import shutil
import subprocess
import tempfile
import unittest

from command import HZ4, clean, hz4
from statistics_made_up import document

MIB = 1 << 20


class ReportTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, text):
        path = os.path.join(self.folder, "stats")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def said(self, **figures):
        status, out, err = hz4("report", self.path(document(**figures)))
        self.assertEqual((status, err), (0, ""))
        self.assertLessEqual(max(len(line) for line in out.splitlines()[1:] or [""]), 80)
        return out

    def test_each_part(self):
        for name, word in (("allocated_bytes", "HZ4_PROFILE"), ("cached_bin_bytes", "HZ4_TCACHE_KIB"),
                           ("cached_inbox_bytes", "HZ4_TCACHE_KIB"), ("cached_depot_bytes", "other CPUs"),
                           ("free_bytes", "between blocks"), ("segment_dirty_bytes", "HZ4_DIRTY_KIB"),
                           ("large_cached_bytes", "above 256 KiB"), ("meta_mapped_bytes", "hz4's own")):
            out = self.said(**{name: 10 * MIB})
            self.assertIn("10 MiB of hz4's may be resident", out)
            self.assertIn("100% ", out)
            self.assertEqual(out.count("%"), 1, "what is nothing is not told")
            self.assertIn(word, out)

    def test_the_largest_first(self):
        out = self.said(allocated_bytes=20 * MIB, cached_bin_bytes=70 * MIB, segment_dirty_bytes=10 * MIB)
        self.assertLess(out.index("70% in caches"), out.index("20% in use"))
        self.assertLess(out.index("20% in use"), out.index("10% free pages"))

    def test_pages_purged_inside_spans_are_not_resident(self):
        self.assertIn("2.0 MiB of hz4's", self.said(free_bytes=10 * MIB, segment_purged_inside_bytes=8 * MIB))

    def test_the_size_that_wastes_most(self):
        classes = [{"object_bytes": size, "live_objects": live, "cached_objects": 100, "span_bytes": 4 * MIB}
                   for size, live in ((32, 100000), (48, 9000), (64, 50000))]
        out = self.said(free_bytes=9 * MIB, classes=classes)
        self.assertIn("between blocks of 48 bytes, of whose spans 422 KiB of 4.0 MiB", " ".join(out.split()))
        self.assertNotIn("blocks of", self.said(allocated_bytes=MIB, classes=classes))

    def test_limits(self):
        out = self.said(allocated_bytes=MIB, limit_soft_bytes=2 * MIB, limit_hard_bytes=3 * MIB, limit_used_bytes=MIB,
                        limit_refused=5)
        self.assertIn("limit is 3.0 MiB, of which 1.0 MiB is used; 5 times", " ".join(out.split()))

    def test_notes(self):
        self.assertIn("HZ4_REFAULT_MS=0", self.said(allocated_bytes=MIB, segment_refaulted_bytes=MIB))
        self.assertIn("Caches belong to threads, of which 5", self.said(thread_by_cpu=0, thread_caches=5))
        self.assertIn("30 MiB more is resident", self.said(allocated_bytes=MIB, resident_bytes=31 * MIB))
        self.assertIn("never written to", self.said(allocated_bytes=9 * MIB, resident_bytes=MIB))
        self.assertEqual(self.said(allocated_bytes=MIB, resident_bytes=MIB).count("\n"), 4)

    def test_among_other_lines(self):
        text = "warning: {\n" + document(pid=5) + "{ something else }\n" + document(pid=6) + "end"
        status, out, err = hz4("report", self.path(text))
        self.assertEqual((status, err), (0, ""))
        self.assertEqual([out.count("process %d:" % pid) for pid in (5, 6)], [1, 1])

    def test_of_the_input(self):
        done = subprocess.run([HZ4, "report", "-"], input=document(), env=clean(), stdout=subprocess.PIPE,
                              encoding="utf-8", check=True)
        self.assertIn("-, process 7", done.stdout)

    def test_no_statistics(self):
        for text, word in (("", "no statistics"), ("nothing", "no statistics"), ("{", "no JSON"), ("{}", "no statistics"),
                           (document(schema=2), "schema 2"), (document()[:90], "no JSON"), ("{\"schema\": 1}", "no statistics"),
                           ("{" * 9999, "no JSON"), ("{\"\0", "no JSON")):
            status, out, err = hz4("report", self.path(text))
            self.assertEqual((status, out, err.count("\n")), (1, "", 1), (text[:20], err))
            self.assertIn(word, err)
        status, out, err = hz4("report", self.folder + "/none", self.path(document()))
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertIn("process 7", out)

    def test_bad_usage(self):
        for words in ((), ("-x",), ("--none", "x")):
            status, out, err = hz4("report", *words)
            self.assertEqual((status, out, err.count("\n")), (2, "", 1), (words, err))
        self.assertTrue(hz4("report", "-h")[1].startswith("usage: hz4 report"))


if __name__ == "__main__":
    unittest.main()
