"""The loads of //bench:programs: what each program is given to do, for a third of a second to two.

Commands are run by a shell in a directory of the load's own, with $LOADS, the directory of the workloads, and $SOURCES,
that of hz4's sources; but for `command`, which is run without one, is what is timed, and has the allocator preloaded.
"""

import dataclasses
import typing


@dataclasses.dataclass(frozen=True)
class Load:
    name: str
    command: str  # timed; its stdout goes to the file out
    needs: typing.Tuple[str, ...]  # programs
    setup: str = ""  # before all runs
    before: str = ""  # before each run
    after: str = "test -s out && cat out"  # after each run: prints what must be the same under every allocator
    stdin: str = "/dev/null"
    # For a server: `command` is the server, is ready when `ready` succeeds, and must end after `after`. `load`, under
    # which it is put, is what is timed.
    ready: str = ""
    load: str = ""


NUMBERS = "seq 1 6000000 >numbers"
REDIS = "redis-cli -s redis.sock"
REDIS_SERVER = {
    "command": "redis-server --port 0 --unixsocket redis.sock --save '' --appendonly no", "before": "rm -f redis.sock",
    "needs": ("redis-server", "redis-benchmark", "redis-cli"), "ready": REDIS + " ping",
    "after": "cut -d, -f1 out; %s llen mylist; %s shutdown nosave" % (REDIS, REDIS),
}
# Some servers refuse to be root.
NOT_ROOT = "unshare --user --map-user=1000 "
H2LOAD = "h2load --h1 -m 1 -B unix:nginx.sock "
PSQL = "psql -h $PWD -U postgres -XAtq "

_LOADS = (
    Load("redis", load="redis-benchmark -s redis.sock --csv -n 16000 -c 50 -P 16 -r 20000 -d 300 "
                       "-t set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,zadd,lrange_100", **REDIS_SERVER),
    Load("redis-clients", load="redis-benchmark -s redis.sock --csv -n 24000 -c 300 -P 16 -r 20000 -d 1000 "
                               "-t set,get,lpush,lpop,mset", **REDIS_SERVER),
    Load("postgres", NOT_ROOT + "postgres -D data -k .. -c listen_addresses= -c fsync=off -c autovacuum=off "
         "-c max_wal_size=128MB -c jit=off", needs=("postgres", "initdb", "pgbench", "psql", "unshare"),
         setup=NOT_ROOT + "initdb -D data -U postgres -A trust -E UTF8 --no-locale --no-sync",
         ready=PSQL + "-c 'SELECT'", load="sh -e $LOADS/pgbench.sh",
         after="cat out; %s -c 'SELECT sum(abalance) FROM pgbench_accounts'; "
               "kill -INT $(head -n1 data/postmaster.pid)" % PSQL),
    Load("nginx", NOT_ROOT + "nginx -e stderr -p . -c $LOADS/nginx.conf", needs=("nginx", "h2load", "unshare"),
         setup="seq 1 300 >small.txt; seq 1 20000 >large.txt; "
               "echo 'start <!--#include virtual=\"/small.txt\" --> end' >page.shtml", before="rm -f nginx.sock",
         ready=H2LOAD + "http://localhost/small.txt | grep '1 2xx'",
         load=H2LOAD + "-n 30000 -c 200 -H 'Accept-Encoding: gzip' http://localhost/small.txt "
                       "http://localhost/packed/small.txt http://localhost/page.shtml http://localhost/proxy/large.txt",
         after="grep '^status' out; kill -QUIT $(cat nginx.pid)"),
    Load("sqlite3", "sqlite3 -bail :memory:", stdin="$LOADS/rows.sql", needs=("sqlite3",)),
    Load("python3", "python3 $LOADS/churn.py", needs=("python3",)),
    Load("python3-malloc", "env PYTHONMALLOC=malloc python3 $LOADS/churn.py", needs=("python3",)),
    Load("gcc", "gcc -std=c11 -D_GNU_SOURCE -O2 -w -I$SOURCES/.. -c $SOURCES/alloc.c $SOURCES/tcache.c",
         needs=("gcc",), after="sha256sum *.o"),
    Load("g++", "g++ -std=c++17 -O1 -DINSTANCES=1 -c $LOADS/containers.cc", needs=("g++",), after="sha256sum *.o"),
    Load("clang++", "clang++-19 -std=c++17 -O1 -DINSTANCES=1 -c $LOADS/containers.cc", needs=("clang++-19", "g++"),
         after="sha256sum *.o"),
    Load("git", "git -C work -c gc.autoDetach=false -c pack.threads=2 gc -q --aggressive --prune=now", needs=("git",),
         setup="""git -c init.defaultBranch=main init -q --bare origin
awk 'BEGIN {
  for (commit = 1; commit <= 120; commit++) {
    printf "commit refs/heads/main\\ncommitter C <c@example.com> %d +0000\\ndata <<END\\n%d\\nEND\\n", commit, commit
    for (file = commit % 7; file < 40; file += 7) {
      printf "M 644 inline dir%d/file%d.txt\\ndata <<END\\n", file % 4, file
      for (line = 0; line < 10 + commit / 2; line++) print file, line, (line * 7919 + file * commit) % 1000
      print "END"
    }
  }
}' | git -C origin fast-import --quiet""",
         before="rm -rf work; cp -r origin work",
         after="git -C work count-objects -v | grep -E '^(count|in-pack|packs|garbage)'; "
               "git -C work rev-list --objects --all | sha256sum"),
    Load("perl", "perl $SOURCES/programs/perl_workload.pl 0.15", needs=("perl",)),
    Load("jq", "jq -c -f $LOADS/rows.jq rows.json", needs=("jq",),
         setup="jq -nc '[range(4000) | {id: ., number: (. * 7919 % 100003), word: \"word-\\(. * 31 % 1009)\", "
               "list: [range(. % 9)]}]' >rows.json"),
    Load("lua", "lua5.4 $LOADS/tables.lua", needs=("lua5.4",)),
    Load("ruby", "ruby $LOADS/objects.rb", needs=("ruby",)),
    Load("php", "env USE_ZEND_ALLOC=0 php -n -d memory_limit=1G $LOADS/objects.php", needs=("php",)),
    Load("node", "node $LOADS/buffers.js", needs=("node",)),
    Load("java", "java -Xmx128m -cp classes Workload", needs=("java", "javac"),
         setup="javac -d classes $SOURCES/programs/java_workload.java"),
    Load("gawk", "gawk -f $LOADS/words.awk numbers", needs=("gawk",), setup="seq 1 150000 >numbers"),
    Load("qpdf", "qpdf --deterministic-id --warning-exit-0 --no-warn raw.pdf --object-streams=generate --linearize -",
         needs=("qpdf",), setup="awk -f $LOADS/pages.awk >raw.pdf", after="test -s out && sha256sum out"),
    Load("sort", "sort --parallel=2 -k2,2 -k1,1nr rows", needs=("sort",), after="test -s out && sha256sum out",
         setup="awk 'BEGIN { for (i = 0; i < 700000; i++) print i * 7919 % 1000003, \"word-\" i * 31 % 10007 }' "
               ">rows"),
    Load("xz", "xz -T2 -2 --block-size=1MiB -c numbers", needs=("xz",), setup=NUMBERS,
         after="test -s out && sha256sum out"),
    Load("zstd", "zstd -q -T2 -9 -B1MiB -c numbers", needs=("zstd",), setup=NUMBERS,
         after="test -s out && sha256sum out"),
    Load("ffmpeg", "ffmpeg -v error -f lavfi -i testsrc=duration=5:size=640x360 -c:v libx264 -threads 2 "
         "-preset veryfast -bitexact -f h264 pipe:1", needs=("ffmpeg",), after="test -s out && sha256sum out"),
    Load("make", "make -s -j2 -f $LOADS/processes.mk", needs=("make", "sed"), after="sort out | uniq -c"),
)

LOADS = {load.name: load for load in _LOADS}
