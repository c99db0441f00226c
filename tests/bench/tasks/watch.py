"""Memory, threads and descriptors of a program and of its supervisor, before and after."""
import os
import signal
import subprocess


def field(path, name):
    with open(path, encoding="ascii") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def look(pid):
    proc = f"/proc/{pid}/"
    return {
        "anonymous": field(proc + "smaps_rollup", "Anonymous") * 1024,
        "peak": field(proc + "status", "VmHWM") / 1024,
        "threads": field(proc + "status", "Threads"),
        "descriptors": len(os.listdir(proc + "fd")),
    }


def supervisor_of(pid):
    """A runner thread is the supervisor's parent: look at the children of every thread."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
            for child in children.read().split():
                with open(f"/proc/{child}/comm", encoding="ascii") as comm:
                    if comm.read().startswith("agenthost-super"):
                        return child
    return None


def watch(command, patience=60):
    """Looks at the tool and its supervisor before and after what it does. Gives the growth of both
    ("threads": the number), and the number that it prints, or None beyond `patience` seconds."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    seen, number = [], None
    for line in process.stdout:
        if line.strip() not in ("before", "after"):
            number = float(line.split()[0])
            continue
        supervisor = supervisor_of(process.pid)
        seen.append([look(pid) for pid in (process.pid, supervisor) if pid])
        process.stdin.write("\n")
        process.stdin.flush()
        signal.alarm(patience)
        if line.strip() == "after":
            break
    signal.alarm(0)
    try:
        process.wait(10)
        os.killpg(process.pid, signal.SIGKILL)  # what it has left behind
    except ProcessLookupError:
        pass
    if len(seen) < 2:
        return None, None
    for before, after in zip(*seen):
        after.update({k: after[k] - before[k] for k in after if k != "threads"})
    return seen[1], number
