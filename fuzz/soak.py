"""bazel run //fuzz:soak -- [--fuzzers A,B] [seconds] [directory]

Every fuzzer for so many seconds (60), one after the other. The directory ($TMPDIR/hz4-soak) keeps corpora, logs,
crashers and report.txt; another run goes on from there. Exits with 1 when a fuzzer found something.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

PROGRESS_SECONDS = 10
COLUMNS = "%-22s %12s %8s %9s %8s %8s %8s"
CONFIG = "--config=fuzz"


def names():
    """The fuzzers of fuzz/BUILD, in its order."""
    return re.findall(r'^    name = "(\w+_fuzzer)",$', pathlib.Path("fuzz/BUILD").read_text(), re.M)


def build(fuzzers):
    """Builds the engines, and returns their directory."""
    subprocess.run(["./bazelw", "build", CONFIG] + [f"//fuzz:{name}_engine" for name in fuzzers], check=True)
    info = subprocess.run(["./bazelw", "info", CONFIG, "bazel-bin"], check=True, text=True, stdout=subprocess.PIPE)
    return pathlib.Path(info.stdout.strip()) / "fuzz"


def last(pattern, text):
    """What the pattern's group matched last."""
    found = re.findall(pattern, text)
    return found[-1] if found else "-"


def state(log):
    """Executions, edges, features and corpus, as libFuzzer last told."""
    text = log.read_text(errors="replace")
    executions = last(r"number_of_executed_units: (\d+)", text)
    if executions == "-":
        executions = last(r"^#(\d+)\s", text) if text.startswith("#") else last(r"\n#(\d+)\s", text)
    return executions, last(r" cov: (\d+)", text), last(r" ft: (\d+)", text), last(r" corp: (\d+)", text)


def fuzz(engine, name, seconds, work):
    """Runs one fuzzer, with a line of progress now and then. Returns its row and what to say of a crash."""
    corpus, log = work / name, work / f"{name}.log"
    corpus.mkdir(exist_ok=True)
    flags = subprocess.run(["fuzz/flags.sh", name], check=True, text=True, stdout=subprocess.PIPE).stdout.split()
    command = [engine, f"-max_total_time={seconds}", "-timeout=60", "-rss_limit_mb=3000", "-print_final_stats=1",
               f"-artifact_prefix={work}/{name}-"] + flags + [corpus, f"testdata/{name}"]
    started = before = time.monotonic()
    with open(log, "wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.2)
        if time.monotonic() - before >= PROGRESS_SECONDS:
            before = time.monotonic()
            executions, edges, features, inputs = state(log)
            print(f"  {name}: {before - started:.0f} of {seconds} s, {executions} executions, {edges} edges, "
                  f"{features} features, {inputs} inputs", file=sys.stderr, flush=True)
    cpu = f"{usage.ru_utime + usage.ru_stime:.0f}"
    row = (name,) + state(log) + (cpu, "FAILED" if status else "ok")
    telling = re.compile(r"check failed|^hz4: |ERROR: |SUMMARY: |Test unit written")
    return row, [line for line in log.read_text(errors="replace").splitlines() if status and telling.search(line)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuzzers", type=lambda text: text.split(","), help="only these, separated by commas")
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    parser.add_argument("directory", type=pathlib.Path, nargs="?",
                        default=pathlib.Path(tempfile.gettempdir()) / "hz4-soak")
    args = parser.parse_args()
    work = pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."), args.directory).resolve()
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    fuzzers = args.fuzzers or names()
    unknown = set(fuzzers) - set(names())
    if unknown or args.seconds < 1:
        parser.error(f"no such fuzzer: {' '.join(sorted(unknown))}" if unknown else "seconds must be positive")
    work.mkdir(parents=True, exist_ok=True)

    engines, failed = build(fuzzers), False
    with open(work / "report.txt", "w", encoding="utf-8") as report:
        def say(line):
            print(line, flush=True)
            print(line, file=report, flush=True)

        say(COLUMNS % ("fuzzer", "executions", "edges", "features", "corpus", "CPU s", "result"))
        for name in fuzzers:
            row, telling = fuzz(engines / f"{name}_engine", name, args.seconds, work)
            failed |= row[-1] != "ok"
            say(COLUMNS % row)
            for line in telling:
                say("  " + line)
    print(f"in {work}/report.txt")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
