"""mutations: what is drawn, and that the list of equivalent faults is up to date. coverage: what it reads from lcov."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import coverage  # noqa: E402
import mutations  # noqa: E402


def changed(line):
    return set(mutations.changes(line))


class MutationsTest(unittest.TestCase):
    def test_a_seed_gives_the_same_faults(self):
        first, again = mutations.choose(120, 7), mutations.choose(120, 7)
        self.assertEqual([m.key for m in first], [m.key for m in again])
        self.assertNotEqual([m.key for m in first], [m.key for m in mutations.choose(120, 8)])

    def test_every_module_has_some(self):
        chosen = mutations.choose(120, 1)
        self.assertGreaterEqual(len(chosen), 100)
        self.assertEqual(len({m.key for m in chosen}), len(chosen))
        for name in "alloc.c inbox.h large.c lock.c meta.c mid.c os.c segment.c span_objects.c tcache.c thread.c transfer.c".split():
            self.assertGreaterEqual(sum(m.path == "hz4/" + name for m in chosen), 2, name)

    def test_a_fault_is_one_line(self):
        for mutant in mutations.choose(120, 1):
            with open(mutant.path, encoding="utf-8") as file:
                old = file.read().split("\n")
            new = mutant.text.split("\n")
            self.assertEqual(len(old), len(new))
            self.assertEqual([i + 1 for i, line in enumerate(old) if line != new[i]], [mutant.number], mutant.key)

    def test_kinds_of_faults(self):
        self.assertEqual(changed("  if (a < b) return NULL;"),
                         {"  if (a <= b) return NULL;", "  if (!(a < b)) return NULL;", "  if (a < b) ;"})
        self.assertEqual(changed("  hz4_lock_release(&lock);  // why"), {"  ;  // why"})
        self.assertEqual(changed("  ++count;"), {"  --count;", "  ;"})
        self.assertIn("  return size_class + 2;", changed("  return size_class + 1;"))
        self.assertIn("  put(cache, size_class - 1, 7);", changed("  put(cache, size_class, 7);"))
        self.assertEqual(changed("static void f(uint32_t size_class) {"), set())
        self.assertEqual(changed("  // a < b"), set())

    def test_equivalent_faults_exist(self):
        possible = {mutant.key for mutant in mutations.choose(10**6, 1)}
        for key, reason in mutations.read_equivalent("tools/mutate_equivalent.txt").items():
            self.assertTrue(key in possible, key)
            self.assertTrue(reason)


class CoverageTest(unittest.TestCase):
    def test_lcov(self):
        text = "SF:hz4/a.c\nFN:1,f\nDA:1,5\nDA:2,0\nBRDA:1,0,0,5\nBRF:4\nBRH:3\nLF:2\nLH:1\nend_of_record\n"
        self.assertEqual(coverage.parse_lcov(text), {"hz4/a.c": (2, 1, 4, 3, [2])})

    def test_percent(self):
        self.assertEqual(coverage.percent(1, 4), 25.0)
        self.assertEqual(coverage.percent(0, 0), 100.0)


if __name__ == "__main__":
    unittest.main()
