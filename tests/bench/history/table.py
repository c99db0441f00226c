"""Measures turns behind short and long histories, several rounds in turn, and prints one table."""
import os
import statistics
import subprocess
import sys

agenthost, rounds = sys.argv[1], int(sys.argv[2])
server = subprocess.Popen([os.environ["BENCH_DIR"] + "/server"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE)
url = f"http://127.0.0.1:{int(server.stdout.readline())}/sink"
TURNS = {10: 200, 100: 200, 1000: 100, 10000: 30}
values = {n: [] for n in TURNS}
for _ in range(rounds):
    for n, count in TURNS.items():
        done = subprocess.run([agenthost, "turns.lua", url, str(n), str(count)], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        lines = [list(map(float, line.split())) for line in done.stdout.splitlines()]
        lines = [line + [line[0] - line[2]] for line in lines]  # beyond the bytes, pair by pair
        values[n].append([statistics.median(column) for column in zip(*lines)])
server.stdin.close()
server.wait()


def spread(numbers, form="%.0f"):
    return (f"{form % statistics.median(numbers)} "
            f"({form % min(numbers)}-{form % max(numbers)})")


print("| messages | body, KB | turn: CPU, µs | time, µs | bytes alone: CPU, µs | time, µs "
      "| beyond the bytes: CPU, µs | of that of 10 messages |")
print("|---|---|---|---|---|---|---|---|")
first = [row[-1] for row in values[min(TURNS)]]
for n, rows in values.items():
    cpu, time, wire_cpu, wire_time, size, beyond = zip(*rows)
    print(f"| {n:,} | {size[0] / 1000:,.0f} | {spread(cpu)} | {spread(time)} | {spread(wire_cpu)} "
          f"| {spread(wire_time)} | {spread(beyond)} "
          f"| {spread([b / f for b, f in zip(beyond, first)], '%.2f')} |")
