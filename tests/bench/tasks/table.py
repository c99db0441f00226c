"""Runs the measurements of all tools in turn, several rounds, and prints one table."""
import os
import resource
import shutil
import statistics
import subprocess
import sys

from watch import watch

agenthost, rounds = sys.argv[1], int(sys.argv[2])
bench = os.environ["BENCH_DIR"]
TOOLS = {
    "agenthost": [agenthost, "host.lua"],
    "bare C": [bench + "/spawn_epoll"],
    "Python": [sys.executable, "threads.py"],
    "Node": ["node", "children.js"],
    "luv": ["lua5.4", "with_luv.lua"],
}
table = {}  # (row, tool) -> values


def note(row, tool, *values):
    table.setdefault(row, {}).setdefault(tool, []).extend(values)


def missing():
    """Tools that are not here, and why."""
    if not shutil.which("node"):
        yield "Node", "no node"
    if subprocess.run(["sh", "-c", "lua5.4 -e \"require('luv')\""], capture_output=True).returncode:
        yield "luv", "no luv for lua5.4 (Debian: apt-get install lua5.4 lua-luv)"


def clear():
    shutil.rmtree(bench + "/out")
    os.mkdir(bench + "/out")


def run(tool, *args, files=None):
    """What a measurement prints: a list of numbers for each line."""
    clear()
    limit = ["prlimit", f"--nofile={files}:{files}"] if files else []
    done = subprocess.run(limit + TOOLS[tool] + list(map(str, args)), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, check=True)
    return [list(map(float, line.split())) for line in done.stdout.splitlines()]


def watched(tool, *args, **options):
    clear()
    return watch(TOOLS[tool] + list(map(str, args)), **options)


def hold(tool, queued):
    name = "hold 1,000, queue 10,000: " if queued else "hold 1,000: "
    grown, _ = watched(tool, "hold", 1000, queued)
    for who, growth, tasks in zip(("", "supervisor, "), grown, (1000 + queued, 1000)):
        note(name + who + "bytes a task", tool, growth["anonymous"] / tasks)
        note(name + who + "threads", tool, growth["threads"])
        note(name + who + "descriptors", tool, growth["descriptors"])


def many(tool, width, row, files=None):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, failed = run(tool, "many", 2000, width, files=files)[0]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    note(row + ", tasks/s", tool, (2000 - failed) / seconds)
    note(row + ", CPU a task, µs", tool, used / (2000 - failed) * 1e6)
    return failed


def one_round(tools):
    """Each measurement with all tools one after the other, so that all see the same noise."""
    for tool in tools:
        note("start call, µs", tool, *(v[0] for v in run(tool, "start", 200)))
    for tool in tools:
        note("last act -> drained, µs", tool, *(v[0] for v in run(tool, "last", 200)))
    for tool in tools:
        note("200 end together: first -> all, ms", tool, run(tool, "together", 200)[0][0] / 1e3)
    for tool in tools:
        many(tool, 2000, "2,000 x true")
        for width in (2, 4, 16) if tool == "bare C" else ():
            many(tool, width, f"2,000 x true, {width} at a time")
    for tool in tools:
        row = "2,000 x true, ulimit -n 1024"
        note(row + ", failed", tool, many(tool, 4 if tool == "bare C" else "", row, files=1024))
    wire = subprocess.run([agenthost, "wire.lua", "-p", "go"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    note("last act -> next request, µs", "agenthost", *map(float, wire.stderr.split()))


def once(tool):
    hold(tool, 0)
    grown, seconds = watched(tool, "write")
    if grown:
        note("writes 1 GiB: s", tool, seconds)
        for who, growth in zip(("host", "supervisor"), grown):
            note(f"writes 1 GiB: peak of the {who} grows by MiB", tool, growth["peak"])
    told = watched(tool, "leave", patience=3)[1]
    note("sleep 30 & echo hi: told after s (inf: > 3)", tool, told or float("inf"))
    if tool == "agenthost":
        hold(tool, 10000)
        for who, growth in zip(("host", "supervisor"), watched(tool, "kept", 2000)[0]):
            note(f"2,000 ended: descriptors kept by the {who}", tool, growth["descriptors"])


def show(values):
    text = f"{statistics.median(values):.4g}" if values else "-"
    if len(values) >= 30:
        text += f" / {sorted(values)[int(len(values) * 0.99)]:.4g}"
    elif len(values) > 1:
        text += f" ({min(values):.4g}-{max(values):.4g})"
    return text


for absent, why in list(missing()):
    print(f"skipped: {absent}: {why}")
    del TOOLS[absent]
for number in range(rounds):
    print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    order = list(TOOLS)
    one_round(order[number % len(order):] + order[:number % len(order)])
for one in TOOLS:
    print(f"\ronce: {one}             ", end="", file=sys.stderr, flush=True)
    once(one)
print("\r", file=sys.stderr)
print("Medians; with 30 values or more median / 99th percentile, else (least-most).\n")
print("| | " + " | ".join(TOOLS) + " |\n|" + "---|" * (len(TOOLS) + 1))
for row in table:
    print(f"| {row} | " + " | ".join(show(table[row].get(one, [])) for one in TOOLS) + " |")
