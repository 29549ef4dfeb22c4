"""scaling: its arithmetic on made-up counts, its arguments."""

import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import scaling  # noqa: E402


class ScalingTest(unittest.TestCase):
    def test_per_thousand(self):
        names = ("malloc_calls", "free_calls", "refill_lock", "flush_lock", "refill_objects", "flush_objects",
                 "inbox_push_objects", "inbox_push", "inbox_refused", "inbox_batches", "span_opened", "span_closed",
                 "shard_lock", "shard_objects")
        counters = {size + "_" + name: 0 for size in ("small", "mid") for name in names}
        counters.update(small_malloc_calls=500, mid_free_calls=500, small_refill_lock=3, mid_flush_lock=1,
                        small_refill_objects=80, mid_inbox_push=2)
        self.assertEqual(scaling.per_thousand(counters),
                         {"locks": 4, "rmw": 10, "lines": 14.75, "cross": 0, "objects": 80, "away": 0})
        counters.update(small_shard_lock=1, small_shard_objects=16)
        self.assertEqual(scaling.per_thousand(counters, 2)["cross"], 3.125)
        self.assertEqual(scaling.per_thousand(counters, 4)["away"], 24)

    def test_classes(self):
        self.assertAlmostEqual(scaling.classes_in_use(1, 128), 8, msg="sixteen bytes each")
        self.assertAlmostEqual(scaling.classes_in_use(257, 512), 8, msg="eight for a doubling")
        self.assertAlmostEqual(scaling.classes_in_use(100, 110), 1)

    def test_model(self):
        events = {"locks": 10, "lines": 50, "cross": 5}
        near, far = ([scaling.throughput(events, 30, n, 1, ns, ns) for n in scaling.CORES] for ns in (25, 112))
        self.assertEqual(near, sorted(near), "more cores are not slower while few wait")
        self.assertTrue(all(f < n for f, n in zip(far[1:], near[1:])))
        shards = [scaling.throughput(events, 30, 64, n, 25, 25) for n in (1, 2, 8)]
        self.assertEqual(shards, sorted(shards), "fewer wait for a lock")
        self.assertLess(scaling.throughput(events, 30, 64, 8, 25, 200), shards[-1])
        nothing = {"locks": 0, "lines": 0, "cross": 0}
        self.assertAlmostEqual(scaling.throughput(nothing, 30, 64, 1, 25, 25) * scaling.FAST_PATH_NS, 64)

    def test_distances(self):
        self.assertEqual(scaling.distances("one socket", 8, 25, 200), (25, 25))
        self.assertEqual(scaling.distances("two sockets", 1, 25, 200), (112.5, 200))
        self.assertEqual(scaling.distances("two sockets", 2, 25, 200), (25, 200))

    def test_bad_arguments(self):
        for arguments in ((), ("--hz4", "/nonexistent"), ("--hz4", "x", "--lanes", "fast"),
                          ("--hz4", "x", "--threads", "0"), ("--hz4", "x", "--shards", "two")):
            done = subprocess.run([sys.executable, os.path.join(HERE, "scaling.py"), *arguments],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done)


if __name__ == "__main__":
    unittest.main()
