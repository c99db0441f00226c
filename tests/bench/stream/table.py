"""Runs all readers in turn, several rounds, and prints one table."""
import os
import shutil
import statistics
import subprocess
import sys

agenthost, rounds, megabytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
server = subprocess.Popen([os.environ["BENCH_DIR"] + "/server"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE)
base = f"http://127.0.0.1:{int(server.stdout.readline())}"
big, small = f"{base}/{megabytes}", f"{base}/{max(1, megabytes // 10)}"
READERS = {  # name: (command, what its output says)
    "curl -o /dev/null": ["curl", "-sS", "-o", "/dev/null", "-w", "%{time_total} 0 0\n"],
    "agenthost, provider": [agenthost, "read.lua", "provider"],
    "agenthost, events joined": [agenthost, "read.lua", "events"],
    "agenthost, events one by one": [agenthost, "read.lua", "single"],
    "Node, fetch + JSON.parse": ["node", "fetch.mjs"],
    "Python, http.client + json": [sys.executable, "fetch.py"],
}


def run(command, url):
    """MB/s, seconds of CPU, peak of resident memory in MiB."""
    process = subprocess.Popen(command + [url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    output = process.stdout.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0, command
    seconds, seen, sent = float(output[0]), int(output[1]), int(output[2])
    assert seen == sent, f"{command}: {seen} of {sent} bytes of text"
    return (int(url.split("/")[-1]) / seconds, usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / 1024)


def spread(values, form):
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{form % median} ({form % low}-{form % high})"


if not shutil.which("node"):
    print("Node is left out: no node")
    del READERS["Node, fetch + JSON.parse"]
rates, cpu, peaks, small_peaks = ({name: [] for name in READERS} for _ in range(4))
for _ in range(rounds):
    for name, command in READERS.items():
        rate, seconds, peak = run(command, big)
        rates[name].append(rate)
        cpu[name].append(seconds)
        peaks[name].append(peak)
        small_peaks[name].append(run(command, small)[2])
server.stdin.close()
server.wait()

first, node = (next((n for n in READERS if n.startswith(who)), None) for who in ("curl", "Node"))
print(f"| reader, {megabytes} MB | MB/s | CPU, s | of curl's rate | of Node's rate "
      f"| peak, MiB | peak at {max(1, megabytes // 10)} MB |")
print("|---|---|---|---|---|---|---|")
for name in READERS:
    shares = []
    for other in (first, node):
        pairs = zip(rates[name], rates[other]) if other else ()
        shares.append(spread([a / b for a, b in pairs], "%.2f") if other else "-")
    print(f"| {name} | {spread(rates[name], '%.0f')} | {spread(cpu[name], '%.2f')} "
          f"| {shares[0]} | {shares[1]} | {statistics.median(peaks[name]):.0f} "
          f"| {statistics.median(small_peaks[name]):.0f} |")
