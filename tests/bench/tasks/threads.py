"""A thread for every task that waits in subprocess.run: how lessons do it. See README.md."""
import os
import queue
import subprocess
import sys
import threading
import time

what, count = sys.argv[1], int((sys.argv + ["1"])[2])
stamp, done = os.environ["STAMP"], queue.Queue()


def run(command):
    try:
        done.put(subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stdout)
    except OSError as error:
        done.put(error)


def start(*command):
    threading.Thread(target=run, args=(command,), daemon=True).start()


def ask(word):
    print(word, flush=True)
    sys.stdin.readline()


if what in ("start", "last"):
    for _ in range(count):
        time.sleep(0.002)
        begin = time.monotonic_ns()
        start(*(["true"] if what == "start" else [stamp, str(begin + 5_000_000)]))
        started = time.monotonic_ns()
        output = done.get()
        print((started - begin if what == "start" else time.monotonic_ns() - int(output)) / 1e3)
elif what == "many":
    begin, failed = time.monotonic(), 0
    for _ in range(count):
        try:
            start("sh", "-c", "true")
        except RuntimeError as error:
            done.put(error)
    for _ in range(count):
        failed += isinstance(done.get(), Exception)
    print(time.monotonic() - begin, failed)
elif what == "together":
    at = str(time.monotonic_ns() + 1_500_000_000)
    for _ in range(count):
        start(stamp, at)
    stamps = [int(done.get()) for _ in range(count)]
    print((time.monotonic_ns() - min(stamps)) / 1e3)
elif what in ("leave", "write"):
    ask("before")
    begin = time.monotonic()
    start(*(["sh", "-c", "sleep 30 & echo hi"] if what == "leave"
            else ["head", "-c", "1073741824", "/dev/zero"]))
    done.get()
    print(time.monotonic() - begin)
    ask("after")
elif what == "hold":
    ask("before")
    for _ in range(count):
        start("sleep", "20")
    time.sleep(3)
    ask("after")
