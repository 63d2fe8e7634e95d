#!/usr/bin/env python3
"""Measures REST against the echo ceiling, start and failover, in one run; prints a Markdown table.

usage: tests/bench/run.py [--seconds N] [--keys N[,N]] [--failovers N]
Needs wrk. Builds release binaries itself. Uses loopback ports 28081 and up, and a temporary directory.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASE = 28080
ECHO = "127.0.0.1:28090"
TICKS = os.sysconf("SC_CLK_TCK")


def call(url, body=None, timeout=1.0):
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


def wait(what, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            value = what()
            if value:
                return value
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit("waited in vain for " + what.__name__)


def cpu(pids):
    total = 0
    for pid in pids:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def rss(pids):
    sizes = [re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1) for pid in pids]
    return max(int(size) for size in sizes) // 1024


def wrk(address, load, keys, connections, seconds):
    environment = dict(os.environ, LOAD=load, KEYS=str(keys))
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "5s", "-s",
               os.path.join(ROOT, "tests/bench/load.lua"), f"http://{address}"]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", output)}


class Cluster:
    def __init__(self, binary):
        self.binary, self.dir, self.pids = binary, tempfile.mkdtemp(prefix="quorate-bench-"), {}
        peers = ",".join(f"{i}=127.0.0.1:{BASE + 100 + i}" for i in (1, 2, 3))
        self.commands = {i: [binary, "serve", "--id", str(i), "--data-dir", f"{self.dir}/node{i}",
                             "--http", f"127.0.0.1:{BASE + i}", "--peer", f"127.0.0.1:{BASE + 100 + i}",
                             "--grpc", f"127.0.0.1:{BASE + 200 + i}", "--initial-cluster", peers] for i in (1, 2, 3)}
        self.nodes = {}

    def start(self, node):
        log = open(f"{self.dir}/node{node}.log", "ab")
        self.nodes[node] = subprocess.Popen(self.commands[node], stdout=log, stderr=log)

    def stop(self):
        for node in self.nodes.values():
            node.kill()
            node.wait()
        shutil.rmtree(self.dir)

    def leader(self):
        for node in self.nodes:
            try:
                stats = call(f"http://127.0.0.1:{BASE + node}/api/stats")
            except OSError:
                continue
            if stats.get("leader_id"):
                return stats["leader_id"]
        return None

    def pids_alive(self):
        return [node.pid for node in self.nodes.values() if node.poll() is None]


def measure(name, address, pids, load, keys, connections, seconds):
    before = cpu(pids)
    result = wrk(address, load, keys, connections, seconds)
    spent = cpu(pids) - before
    result["cpu_us"] = spent * 1e6 / max(result["count"], 1)
    print(f"| {name} | {load} | {keys:,} | {connections} | {result['rate']:,}/s | {result['p50_us'] / 1000:.2f} ms | "
          f"{result['p99_us'] / 1000:.2f} ms | {result['cpu_us']:.0f} us | {rss(pids)} MB | {result['failed']} |", flush=True)
    return result


def fill(address, keys, seconds):
    """Writes until about every key exists."""
    total = 0
    while total < keys:
        total += wrk(address, "set", keys, 64, seconds)["count"]


def failovers(cluster, count):
    times = []
    for _ in range(count):
        leader = wait(cluster.leader)
        other = next(node for node in cluster.nodes if node != leader)
        cluster.nodes[leader].kill()
        begin = time.monotonic()
        cluster.nodes[leader].wait()

        def written():
            body = json.dumps({"key": "failover", "value": str(begin)}).encode()
            return call(f"http://127.0.0.1:{BASE + other}/api/set", body, timeout=5)["success"]

        wait(written)
        times.append(time.monotonic() - begin)
        cluster.start(leader)
        wait(lambda: call(f"http://127.0.0.1:{BASE + leader}/health")["health"] == "true")
    times.sort()
    print(f"\nfailover, {count} times: median {times[len(times) // 2]:.2f} s, worst {times[-1]:.2f} s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--keys", default="10000,1000000")
    parser.add_argument("--failovers", type=int, default=20)
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--bin", "quorate", "--example", "echo"], cwd=ROOT, check=True)
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release")
    cluster = Cluster(f"{target}/quorate")
    echo = subprocess.Popen([f"{target}/examples/echo", ECHO])
    try:
        begin = time.monotonic()
        for node in (1, 2, 3):
            cluster.start(node)
        leader = wait(cluster.leader)
        print(f"start to first leader: {time.monotonic() - begin:.2f} s\n")
        print("| what | load | keys | connections | rate | p50 | p99 | CPU/op, servers | RSS, largest | failed |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        time.sleep(1)
        for keys in map(int, options.keys.split(",")):
            leader = f"127.0.0.1:{BASE + wait(cluster.leader)}"
            fill(ECHO, keys, options.seconds)
            fill(leader, keys, options.seconds)
            for connections in (1, 64):
                for load in ("set", "get"):
                    measure("echo ceiling", ECHO, [echo.pid], load, keys, connections, options.seconds)
                    measure("quorate", leader, cluster.pids_alive(), load, keys, connections, options.seconds)
        if options.failovers:
            failovers(cluster, options.failovers)
    finally:
        cluster.stop()
        echo.kill()
        echo.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: exit(1))
    main()
