#!/usr/bin/env python3
"""The same work for Baton and for every redis-compatible server of this machine, in alternation.

    benches/side_by_side.py                               all of it; writes target/side_by_side/{table.md,*.svg,samples.json}
    benches/side_by_side.py --server 'name=command ...'   another server; {port} and {dir} are filled in
    benches/side_by_side.py --docs                        puts table and plots into docs/performance.md too
    benches/side_by_side.py --only 'pipeline 16'          only the rows whose name contains this
    benches/side_by_side.py --keys 200000 --seconds 0.3 --rounds 1      a quick look

Needs Python 3, redis-benchmark, and Linux for /proc. The load generator shares the processors with the server: on few of them
look at the CPU time per operation rather than at the throughput.

For every row one server after the other does the same number of operations, round by round, while the others are stopped
(SIGSTOP), so that a machine that changes its speed changes it for all. A figure is the median of its rounds; a ratio is
Baton's over the other's. CPU time is that of the server's process, all threads, as the system counts it.
"""
import argparse
import csv
import io
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
VALUE = "v" * 64
PERSISTENT = {"everysec": "--appendonly yes --appendfsync everysec", "always": "--appendonly yes --appendfsync always"}
KNOWN = ["redis-server", "valkey-server", "keydb-server"]

# Name, pipeline, options of the server, arguments of redis-benchmark.
ROWS = [(f"{name}, pipeline {pipeline}", pipeline, "", ["-t", name.lower()]) for pipeline in (1, 16, 100)
        for name in ("GET", "SET")]
ROWS += [(f"{name}, pipeline 16", 16, "", arguments) for name, arguments in [
    ("INCR", ["-t", "incr"]), ("LPUSH", ["-t", "lpush"]), ("RPOP", ["-t", "rpop"]), ("SADD", ["-t", "sadd"]),
    ("HSET, one large hash", ["HSET", "hash", "element:__rand_int__", VALUE]),
    ("ZADD", ["-t", "zadd"]), ("ZRANGE 0 9", ["ZRANGE", "zset", "0", "9"]), ("MSET of 10", ["-t", "mset"])]]
ROWS += [("SET, everysec, pipeline 16", 16, "everysec", ["-t", "set"]),
         ("SET, always, pipeline 1", 1, "always", ["-t", "set"])]


class Server:
    def __init__(self, name, command, directory):
        self.name, self.command = name, command
        self.dir = os.path.join(directory, name)
        self.process = None

    def start(self, options="", clean=True):
        if clean:
            shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = self.command.format(port=self.port, dir=self.dir).split() + ["--save", ""] + options.split()
        log = open(os.path.join(self.dir, "log"), "w")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        begun = time.monotonic()
        while time.monotonic() < begun + 300:
            if self.ask("GET", "nothing-of-this-name") == b"$-1\r\n":
                return time.monotonic() - begun
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} does not start: see {log.name}")

    def end(self, how=signal.SIGKILL):
        if self.process:
            self.process.send_signal(how)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait()
            self.process = None

    def pause(self, paused):
        self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def ask(self, *words):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
                connection.sendall(request(*words))
                return connection.recv(65536)
        except OSError:
            return b""

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        # With that of children which have ended: others rewrite their log in one.
        return sum(int(field) for field in fields[11:15]) / TICK

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * PAGE

    def fill(self, keys, size):
        """Keys of 16 bytes with values of this size."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        replies, value = connection.makefile("rb"), "v" * size
        for start in range(0, keys, 5_000):
            some = range(start, min(keys, start + 5_000))
            connection.sendall(b"".join(request("SET", f"key:{n:012}", value) for n in some))
            for _ in some:
                replies.readline()
        connection.close()


def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


def benchmark(server, count, pipeline, arguments, keys):
    """One sample: figures of redis-benchmark, and what the server used meanwhile."""
    command = ["redis-benchmark", "-p", str(server.port), "-n", str(count), "-r", str(keys), "-d", "64", "-c", "50",
               "-P", str(pipeline), "--csv", *arguments]
    before = server.cpu()
    done = subprocess.run(command, capture_output=True, text=True)
    used = server.cpu() - before
    if done.returncode != 0 or '"rps"' not in done.stdout:
        raise RuntimeError(f"{server.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    row = list(csv.DictReader(io.StringIO(done.stdout)))[-1]
    return {"ops": float(row["rps"]), "cpu_us": used / count * 1e6, "p50_ms": float(row["p50_latency_ms"]),
            "p99_ms": float(row["p99_latency_ms"])}


def measure_load(servers, wanted, options):
    """Row -> server -> samples."""
    results, running = {}, None
    for name, pipeline, log, arguments in ROWS:
        if wanted not in name:
            continue
        if running != log:
            for server in servers:
                server.end()
                server.start(PERSISTENT.get(log, ""))
                server.fill(options.keys if not log else 1_000, 64)
                server.pause(True)
            running = log
        # How much the first server does in the time: a part of it is tried, then all do as much.
        servers[0].pause(False)
        tried = benchmark(servers[0], 2_000 * pipeline if log != "always" else 1_000, pipeline, arguments, options.keys)
        servers[0].pause(True)
        count = max(int(tried["ops"] * options.seconds), 50 * pipeline)
        samples = {server.name: [] for server in servers}
        for _ in range(options.rounds):
            for server in servers:
                server.pause(False)
                samples[server.name].append(benchmark(server, count, pipeline, arguments, options.keys))
                server.pause(True)
        results[name] = samples
        print(name, {server: round(median(found, "cpu_us"), 3) for server, found in samples.items()}, file=sys.stderr)
    for server in servers:
        server.end()
    return results


def measure_memory(servers, keys):
    """Server -> bytes of memory per key, seconds from the start to the first answer with a log of all of them."""
    results = {}
    for server in servers:
        server.end()
        server.start("--appendonly yes --appendfsync no --auto-aof-rewrite-percentage 0")
        empty = server.resident()
        server.fill(keys, 32)
        results[server.name] = {"bytes_per_key": (server.resident() - empty) / keys}
        # Killed: all that it acknowledged has been written.
        server.end()
        results[server.name]["restart_s"] = server.start("--appendonly yes", clean=False)
        server.end()
        shutil.rmtree(server.dir, ignore_errors=True)
        print("memory", server.name, results[server.name], file=sys.stderr)
    return results


def median(samples, figure):
    return statistics.median(sample[figure] for sample in samples)


def tables(load, memory, names, options):
    ours, others = names[0], names[1:]
    lines = [f"{options.keys} keys, values of 64 bytes, 50 connections; medians of {options.rounds} rounds on "
             f"{os.cpu_count()} processors that the load generator shares. Ratios are {ours} over the other.\n",
             "| work | " + " | ".join(f"{name}: ops/s, CPU us/op, p50 / p99 ms" for name in names) + " | "
             + " | ".join(f"ops over {name} | CPU over {name}" for name in others) + " |",
             "|---" * (1 + len(names) + 2 * len(others)) + "|"]
    for row, samples in load.items():
        figures = {name: {figure: median(samples[name], figure) for figure in samples[name][0]} for name in names}
        cells = ["{ops:,.0f}, {cpu_us:.2f}, {p50_ms:.2f} / {p99_ms:.2f}".format(**figures[name]) for name in names]
        for other in others:
            for figure in ("ops", "cpu_us"):
                base = figures[other][figure]
                cells.append(f"{figures[ours][figure] / base:.2f}" if base else "")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    if memory:
        lines += ["", f"{options.memory_keys} keys of 16 bytes with values of 32.\n",
                  "| | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
        for figure, unit in (("bytes_per_key", "bytes of memory per key"), ("restart_s", "restart with a log, seconds")):
            lines.append(f"| {unit} | " + " | ".join(f"{memory[name][figure]:.2f}" for name in names) + " |")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- side_by_side.py: begin -->", "<!-- side_by_side.py: end -->"
COLORS = ["#1b6ca8", "#c8553d", "#8a8d91", "#588157", "#7b4b94"]


def plot(title, load, names, figure):
    """Bars as an SVG: one group a row, one bar a server, each beside its figure."""
    left, width, bar, gap = 210, 760, 13, 12
    rows = [(row, [median(samples[name], figure) for name in names]) for row, samples in load.items()]
    height = 60 + len(rows) * (bar * len(names) + gap)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
           f'font-size="11"><rect width="100%" height="100%" fill="white"/><text x="8" y="18" font-size="14">{title}</text>']
    for at, name in enumerate(names):
        x = left + at * 150
        out.append(f'<rect x="{x}" y="28" width="10" height="10" fill="{COLORS[at % 5]}"/><text x="{x + 14}" y="37">{name}</text>')
    y = 52
    for row, values in rows:
        # Every group has its own scale: what matters is the ratio, and P=1 would be invisible beside P=100.
        most = max(values) or 1
        out.append(f'<text x="{left - 8}" y="{y + bar * len(names) / 2 + 4}" text-anchor="end">{row}</text>')
        for at, value in enumerate(values):
            length = (width - left - 90) * value / most
            text = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
            out.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 2}" fill="{COLORS[at % 5]}"/>'
                       f'<text x="{left + length + 4:.1f}" y="{y + bar - 3}">{text}</text>')
            y += bar
        y += gap
    return "\n".join(out) + "\n</svg>\n"


def write_docs(table, plots):
    """Puts the table and the plots between the marks in docs/performance.md."""
    page, pictures = os.path.join(ROOT, "docs", "performance.md"), os.path.join(ROOT, "docs", "performance")
    os.makedirs(pictures, exist_ok=True)
    links = []
    for name, (title, svg) in plots.items():
        with open(os.path.join(pictures, f"{name}.svg"), "w") as file:
            file.write(svg)
        links.append(f"![{title}](performance/{name}.svg)")
    with open(page) as file:
        before, marked = file.read().split(BEGIN)
    with open(page, "w") as file:
        file.write("\n".join([before + BEGIN, "", table, *links, "", END + marked.split(END)[1]]))


def find_servers(options, directory):
    cores = min(2, os.cpu_count() or 1)
    ours = os.path.join(options.target, "release", "baton")
    found = {"baton": f"{ours} --cores {cores} --port {{port}} --dir {{dir}}"}
    for name in KNOWN:
        if shutil.which(name):
            found[name.removesuffix("-server")] = f"{shutil.which(name)} --port {{port}} --dir {{dir}}"
    found.update(server.split("=", 1) for server in options.server)
    return [Server(name, command, directory) for name, command in found.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--target", default=os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--memory-keys", type=int, default=5_000_000, help="0 for no measurement of memory and restart")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each sample")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    out = options.out or os.path.join(options.target, "side_by_side")
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as directory:
        servers = find_servers(options, directory)
        try:
            load = measure_load(servers, options.only, options)
            memory = measure_memory(servers, options.memory_keys) if options.memory_keys and not options.only else {}
        finally:
            for server in servers:
                server.end()
    names = [server.name for server in servers]
    with open(os.path.join(out, "samples.json"), "w") as file:
        json.dump({"load": load, "memory": memory, "options": vars(options)}, file, indent=1)
    titles = {"ops": "Operations per second", "cpu_us": "CPU time of the server per operation, us",
              "p99_ms": "99th percentile of the latency, ms"}
    plots = {figure: (title, plot(title, load, names, figure)) for figure, title in titles.items()}
    for figure, (_, svg) in plots.items():
        with open(os.path.join(out, f"{figure}.svg"), "w") as file:
            file.write(svg)
    table = tables(load, memory, names, options)
    with open(os.path.join(out, "table.md"), "w") as file:
        file.write(table)
    if options.docs:
        write_docs(table, plots)
    print(table)


main()
