"""Two builds side by side: versions.py OLD NEW ROUNDS. Called by versions.sh."""

import os
import shutil
import statistics
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
builds, rounds = sys.argv[1:3], int(sys.argv[3])
out = os.environ["BENCH_DIR"] + "/out"
# Row, script, arguments; `last` takes the first number of the last line, `median` that of all lines.
ROWS = [
    ("task.run, µs", "host.lua", ["start", "200"], "median"),
    ("last act -> drained, µs", "host.lua", ["last", "100"], "median"),
    ("2,000 x true, s", "host.lua", ["many", "2000"], "last"),
    ("1,000 idle, % of a core", "cost.lua", ["1000", "5", "exec sleep 600"], "last"),
    ("1,000 with a line a second, % of a core", "cost.lua",
     ["1000", "8", "while :; do echo x; sleep 1; done"], "last"),
    ("`yes` past 256 MiB, MiB", "cost.lua", ["yes", "256"], "last"),
]
values = {}


def measure(build, script, arguments, how):
    shutil.rmtree(out, ignore_errors=True)
    os.mkdir(out)
    text = subprocess.run([build, os.path.join(here, script), *arguments], text=True,
                          stdout=subprocess.PIPE, timeout=120, check=True).stdout
    numbers = [float(line.split()[0]) for line in text.splitlines()]
    return statistics.median(numbers) if how == "median" else numbers[-1]


for turn in range(rounds):
    for row, script, arguments, how in ROWS:
        for build in builds if turn % 2 == 0 else builds[::-1]:
            found = measure(build, script, arguments, how)
            values.setdefault(row, {}).setdefault(build, []).append(found)
            print(f"{turn + 1}: {row}: {build}: {found:.4g}", file=sys.stderr)

print("| | old | new |\n|---|---|---|")
for row, of in values.items():
    cells = [f"{statistics.median(v):.4g} ({min(v):.4g}-{max(v):.4g})" for v in
             (of[build] for build in builds)]
    print("| " + " | ".join([row, *cells]) + " |")
