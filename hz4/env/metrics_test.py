"""Statistics for Prometheus: promtool accepts the file, and node exporter's textfile collector serves what it says.

metrics_test.py <libhz4.so> <program>: the program is any that allocates.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

LIBRARY, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:3])
PROMTOOL, EXPORTER = shutil.which("promtool"), shutil.which("prometheus-node-exporter")


def write_metrics(folder, name, **options):
    """The text that a process writes to a file of this name."""
    environment = dict(options, LD_PRELOAD=LIBRARY, HZ4_STATS_FILE=os.path.join(folder, name))
    before = set(os.listdir(folder))
    subprocess.run([PROGRAM], env=environment, check=True, stdout=subprocess.DEVNULL)
    new, = set(os.listdir(folder)) - before
    with open(os.path.join(folder, new), encoding="ascii") as file:
        return file.read()


def samples(text):
    return dict(re.findall(r"^(hz4_\S+) (\d+(?:\.\d+)?(?:e\+\d+)?)$", text, re.MULTILINE))


def serve(folder):
    """A node exporter for that folder alone, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % free.getsockname()[1]
    return subprocess.Popen(
        [EXPORTER, "--collector.disable-defaults", "--collector.textfile", "--collector.textfile.directory=" + folder,
         "--web.listen-address=" + address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), address


def scrape(exporter, address):
    """What it answers, once it does."""
    while exporter.poll() is None:
        try:
            with urllib.request.urlopen("http://%s/metrics" % address, timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.05)
    raise AssertionError("node exporter ended with %d" % exporter.returncode)


class MetricsTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def test_values(self):
        text = write_metrics(self.folder, "hz4.prom")
        found = samples(text)
        self.assertTrue(text.endswith("# EOF\n"))
        self.assertEqual(len(found), len([line for line in text.splitlines() if not line.startswith("#")]), text)
        self.assertGreater(int(found["hz4_mapped_bytes"]), int(found["hz4_allocated_bytes"]))
        self.assertRegex(text, r'(?m)^hz4_info\{version="\d+\.\d+\.\d+"\} 1$')
        self.assertNotIn("hz4_class", text)

    def test_promtool_accepts_it(self):
        if PROMTOOL is None:
            print("SKIPPED: no promtool (Debian: prometheus)")
            return
        for name, options in [("hz4.prom", {}), ("hz4-%p.prom", {}), ("classes.prom", {"HZ4_STATS_CLASSES": "1"}),
                              ("classes-%p.prom", {"HZ4_STATS_CLASSES": "1"})]:
            text = write_metrics(self.folder, name, **options)
            self.assertEqual("hz4_class_refills_total{" in text, "HZ4_STATS_CLASSES" in options)
            check = subprocess.run([PROMTOOL, "check", "metrics"], input=text, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, universal_newlines=True, check=False)
            self.assertEqual((check.returncode, check.stdout), (0, ""), text)

    def test_node_exporter_serves_two_processes(self):
        if EXPORTER is None:
            print("SKIPPED: no prometheus-node-exporter (Debian: of that name)")
            return
        written = {}
        for _ in range(2):
            written.update(samples(write_metrics(self.folder, "hz4-%p.prom", HZ4_STATS_CLASSES="1")))
        exporter, address = serve(self.folder)
        try:
            answer = scrape(exporter, address)
        finally:
            exporter.kill()
            exporter.wait()
        self.assertRegex(answer, r"(?m)^node_textfile_scrape_error 0$")
        served = {name: float(value) for name, value in samples(answer).items()}
        # It puts the labels in the order of their names.
        ordered = {re.sub(r"\{(.*)\}", lambda labels: "{%s}" % ",".join(sorted(labels.group(1).split(","))), name): float(value)
                   for name, value in written.items()}
        self.assertEqual(served, ordered)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
