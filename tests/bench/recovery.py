#!/usr/bin/env python3
"""Measures what an operator waits for, in one run: a failover and a rolling restart beside etcd, writes during folds, a new
node and a restart with 1 GB of data, memory, and what each kind of read costs. Prints Markdown.

usage: tests/bench/recovery.py [failover] [restart] [folds] [snapshot] [reads] [--times N] [--gigabytes N]
Without names it measures all. Needs wrk, and etcd (Debian: etcd-server) for the comparison. Builds the release binary
itself. Uses loopback ports 28081 and up, 28400 and up, and a temporary directory.
"""

import argparse
import datetime
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

import run

ETCD = 28400


def address(node):
    return f"127.0.0.1:{run.BASE + node}"


def part(values, share):
    """The value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def milliseconds(seconds):
    return f"{seconds * 1000:.1f} ms"


class Quorate(run.Cluster):
    """Three nodes, and how to write one key to one of them."""

    name = "quorate"

    def put(self, node, key, value, timeout):
        body = json.dumps({"key": key, "value": value}).encode()
        run.call(f"http://{address(node)}/api/set", body, timeout)

    def is_ready(self, node):
        return urllib.request.urlopen(f"http://{address(node)}/readyz", timeout=1).status == 200

    def members(self):
        return run.call(f"http://{address(1)}/api/members")["members"]


class Etcd:
    """The same of etcd, with its own defaults, through its JSON gateway."""

    name = "etcd"

    def __init__(self):
        self.dir, self.nodes = tempfile.mkdtemp(prefix="etcd-bench-"), {}
        peers = ",".join(f"n{i}=http://127.0.0.1:{ETCD + 100 + i}" for i in (1, 2, 3))
        self.commands = {i: ["etcd", "--name", f"n{i}", "--data-dir", f"{self.dir}/n{i}",
                             "--listen-client-urls", f"http://127.0.0.1:{ETCD + i}",
                             "--advertise-client-urls", f"http://127.0.0.1:{ETCD + i}",
                             "--listen-peer-urls", f"http://127.0.0.1:{ETCD + 100 + i}",
                             "--initial-advertise-peer-urls", f"http://127.0.0.1:{ETCD + 100 + i}",
                             "--initial-cluster", peers] for i in (1, 2, 3)}

    start, stop = run.Cluster.start, run.Cluster.stop

    def leader(self):
        for node in self.nodes:
            try:
                status = run.call(f"http://127.0.0.1:{ETCD + node}/v3/maintenance/status", b"{}")
            except OSError:
                continue
            if status.get("leader"):
                own = {}
                for other in self.nodes:
                    try:
                        answer = run.call(f"http://127.0.0.1:{ETCD + other}/v3/maintenance/status", b"{}")
                        own[answer["header"]["member_id"]] = other
                    except OSError:
                        pass
                return own.get(status["leader"])
        return None

    def put(self, node, key, value, timeout):
        # Both are base64 there; what they say does not matter.
        body = json.dumps({"key": "Zm9v", "value": "YmFy"}).encode()
        run.call(f"http://127.0.0.1:{ETCD + node}/v3/kv/put", body, timeout)

    def is_ready(self, node):
        return run.call(f"http://127.0.0.1:{ETCD + node}/health")["health"] == "true"


def begin(cluster):
    for node in (1, 2, 3):
        cluster.start(node)
    for node in (1, 2, 3):
        run.wait(lambda: cluster.is_ready(node))
    return cluster


def written(cluster, node, timeout):
    try:
        cluster.put(node, "probe", "x", timeout)
        return True
    except (OSError, http.client.HTTPException):
        return False


def failover(cluster, times):
    """From kill -9 of the leader to the first write through another node: short attempts, one after the other."""
    begin(cluster)
    taken = []
    for _ in range(times):
        leader = run.wait(cluster.leader)
        others = [node for node in cluster.nodes if node != leader]
        run.wait(lambda: written(cluster, others[0], 1))
        # Killed at any moment between two heartbeats, not always right after a write.
        time.sleep(0.3 + len(taken) % 7 * 0.02)
        cluster.nodes[leader].kill()
        start, attempt = time.monotonic(), 0
        while not written(cluster, others[attempt % 2], 0.1):
            attempt += 1
        taken.append(time.monotonic() - start)
        cluster.nodes[leader].wait()
        cluster.start(leader)
        run.wait(lambda: cluster.is_ready(leader))
        time.sleep(1)
    cluster.stop()
    return (f"| {cluster.name} | {milliseconds(part(taken, 0.5))} | {milliseconds(part(taken, 0.9))} | "
            f"{milliseconds(max(taken))} |")


class Load:
    """Writers that go on, each to the next node after a failure; remembers when each write was answered and how long it took."""

    def __init__(self, put, nodes, writers, pause):
        self.put, self.node_list, self.pause = put, nodes, pause
        self.done, self.failed, self.is_over = [], 0, False
        self.threads = [threading.Thread(target=self.write, args=(i,), daemon=True) for i in range(writers)]
        for thread in self.threads:
            thread.start()

    def write(self, number):
        # One after the other: whatever stands still for a moment is met by those whose turn it is, and not by all or none.
        at, due, count = number, time.monotonic() + self.pause * number / len(self.threads), 0
        while not self.is_over:
            due += self.pause
            time.sleep(max(0, due - time.monotonic()))
            start, count = (due if self.pause else time.monotonic()), count + 1
            try:
                self.put(self.node_list[at % len(self.node_list)], f"load:{number}:{count % 1000}", "v" * 256)
                self.done.append((start, time.monotonic()))
            except (OSError, http.client.HTTPException):
                self.failed, at = self.failed + 1, at + 1

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()
        return self.done


def keep_alive_put(local, node, key, value):
    """One write over this thread's own connection to the node."""
    known = local.__dict__.setdefault("connections", {})
    connection = known.get(node) or http.client.HTTPConnection(address(node), timeout=1)
    known[node] = connection
    try:
        connection.request("POST", "/api/set", json.dumps({"key": key, "value": value}),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        del known[node]
        raise
    if answer.status != 200:
        raise OSError(f"status {answer.status}")


def rolling_restart(cluster, times):
    """The longest time without an answered write while all nodes restart, one after the other, by SIGTERM."""
    begin(cluster)
    gaps, failures = [], 0
    for _ in range(times):
        load = Load(lambda node, key, value: cluster.put(node, key, value, 1), [1, 2, 3], 8, 0)
        time.sleep(1)
        for node in (1, 2, 3):
            cluster.nodes[node].terminate()
            cluster.nodes[node].wait()
            cluster.start(node)
            run.wait(lambda: cluster.is_ready(node))
            time.sleep(1)
        ends = sorted(end for _, end in load.stop())
        gaps.append(max(later - earlier for earlier, later in zip(ends, ends[1:])))
        failures += load.failed
    cluster.stop()
    return (f"| {cluster.name} | {times} | {milliseconds(part(gaps, 0.5))} | {milliseconds(max(gaps))} | {failures} |")


def fold_times(cluster):
    """When folds ran, on the clock of time.time(), by the lines that the nodes log at level debug."""
    spans, waits = [], []
    for node in (1, 2, 3):
        since = {}
        for line in open(f"{cluster.dir}/node{node}.log"):
            found = re.search(r'(\d{4}-\d\d-\d\dT[\d:.]+)Z.*(a fold begins|a fold is done|writes wait for a fold|writes go on)', line)
            if not found:
                continue
            at = datetime.datetime.fromisoformat(found[1] + "+00:00").timestamp()
            what = found[2]
            if what in ("a fold begins", "writes wait for a fold"):
                since[what] = at
            elif what == "a fold is done" and "a fold begins" in since:
                spans.append((since.pop("a fold begins"), at))
            elif what == "writes go on" and "writes wait for a fold" in since:
                waits.append(at - since.pop("writes wait for a fold"))
    return spans, waits


def folds(cluster, keys, rate, seconds):
    """Writes over many keys at a fixed rate, about a quarter of what the machine can do: those during a fold of any node, and
    the others. Most come from wrk; those that are timed come from many writers, so that a slow one holds no other up."""
    begin(cluster)
    leader = run.wait(cluster.leader)
    fill(leader, keys, 256)
    local, draw = threading.local(), iter(range(10**12))
    background = subprocess.Popen(
        ["wrk", "-t", "1", "-c", str(rate // 100), "-d", f"{seconds + 5}s", "-s",
         os.path.join(run.ROOT, "tests/bench/load.lua"), f"http://{address(leader)}"],
        env=dict(os.environ, LOAD="set", KEYS=str(keys), PAUSE_MS="8"), stdout=subprocess.PIPE, text=True)
    load = Load(lambda node, key, value: keep_alive_put(local, node, f"key:{next(draw) * 7919 % keys:08d}", value),
                [leader], 16, 16 / 200)
    time.sleep(seconds)
    done = load.stop()
    beside = re.search(r"rate=(\d+)", background.communicate()[0])[1]
    wall = time.time() - time.monotonic()
    spans, waits = fold_times(cluster)
    begun = min(start for start, _ in done) + wall
    spans = [(since, till) for since, till in spans if till > begun]
    during, apart = [], []
    for start, end in done:
        inside = any(start + wall < till and end + wall > since for since, till in spans)
        (during if inside else apart).append(end - start)
    rows = [f"| {name} | {len(times):,} | {milliseconds(part(times, 0.5))} | {milliseconds(part(times, 0.99))} | "
            f"{milliseconds(part(times, 0.999))} | {milliseconds(max(times))} |"
            for name, times in (("apart from folds", apart), ("during a fold", during)) if times]
    longest = max((till - since for since, till in spans), default=0)
    rows.append(f"\n{len(spans)} folds, the longest {longest:.2f} s; applying waited for one {len(waits)} times, "
                f"at most {milliseconds(max(waits, default=0))}; beside it {beside} writes/s")
    cluster.stop()
    return "\n".join(rows)


def metric(node, name):
    page = urllib.request.urlopen(f"http://{address(node)}/metrics", timeout=5).read().decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.M))


def logged(cluster, node, text):
    """When a node first said this, on the clock of time.time()."""
    for line in open(f"{cluster.dir}/node{node}.log"):
        if text in line:
            at = re.search(r"(\d{4}-\d\d-\d\dT[\d:.]+)Z", line)[1]
            return datetime.datetime.fromisoformat(at + "+00:00").timestamp()
    raise SystemExit(f"node {node} never said: {text}")


def peak(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) // 1024


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def fill(leader, count, size):
    """Writes so many keys, in order, each of so many bytes."""
    done = 0
    while done < count:
        os.environ.update(BYTES=str(size), FROM=str(done))
        done += run.wrk(address(leader), "fill", count, 64, 10)["count"]
    del os.environ["BYTES"], os.environ["FROM"]


def paced(leader, seconds, rate=400):
    local = threading.local()
    load = Load(lambda node, key, value: keep_alive_put(local, node, key, value), [leader], 4, 4 / rate)
    if callable(seconds):
        seconds()
    else:
        time.sleep(seconds)
    return [end - start for start, end in load.stop()]


def snapshot(cluster, gigabytes):
    begin(cluster)
    leader = run.wait(cluster.leader)
    count = int(gigabytes * 1_000_000)
    start = time.monotonic()
    fill(leader, count, 1024)
    print(f"\nfilled with {count:,} keys of 1 KiB in {time.monotonic() - start:.0f} s; "
          f"memory of a node: {max(peak(pid) for pid in cluster.pids_alive())} MB at its peak, "
          f"{run.rss(cluster.pids_alive())} MB now; "
          f"on disk: {sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(f'{cluster.dir}/node{leader}') for name in names) >> 20} MB",
          flush=True)
    time.sleep(5)
    before = paced(leader, 15)
    forget_peak(cluster.nodes[leader].pid)
    cluster.commands[4] = [cluster.binary, "serve", "--id", "4", "--data-dir", f"{cluster.dir}/node4",
                           "--http", address(4), "--peer", f"127.0.0.1:{run.BASE + 104}",
                           "--grpc", f"127.0.0.1:{run.BASE + 204}", "--join", f"127.0.0.1:{run.BASE + 100 + leader}"]
    taken = []

    def join():
        start = time.monotonic()
        cluster.start(4)
        run.wait(lambda: any(member["id"] == 4 and member["role"] == "voter" for member in cluster.members()), 300)
        taken.append(time.monotonic() - start)

    meanwhile = paced(leader, join)
    sent = metric(leader, "quorate_transport_snapshot_bytes_sent_total") / 1e6
    opened, installed = logged(cluster, leader, "sending a snapshot"), logged(cluster, 4, "installing a snapshot")
    asked = logged(cluster, 4, "joined a cluster")
    print("\n| what | figure |\n|---|---|")
    print(f"| new node with {gigabytes} GB is a voter after | {taken[0]:.1f} s, {count * 1.033 / 1000 / taken[0]:.0f} MB/s |")
    print(f"| of that until the snapshot was there to be sent, and until all of it was installed | "
          f"{opened - asked:.2f} s, {installed - opened:.1f} s |")
    print(f"| on the wire | {sent:.0f} MB of {count * 1.05 / 1000:.0f} MB, {sent / (installed - opened):.0f} MB/s |")
    print(f"| peak memory: sender, receiver | {peak(cluster.nodes[leader].pid)} MB, {peak(cluster.nodes[4].pid)} MB |")
    for name, times in (("without", before), ("meanwhile", meanwhile)):
        print(f"| p50, p99, longest write {name} | {milliseconds(part(times, 0.5))}, {milliseconds(part(times, 0.99))}, "
              f"{milliseconds(max(times))} |")
    for how, stop in (("SIGTERM", cluster.nodes[4].terminate), ("kill -9", None)):
        (stop or cluster.nodes[4].kill)()
        cluster.nodes[4].wait()
        start = time.monotonic()
        cluster.start(4)
        run.wait(lambda: cluster.is_ready(4), 300)
        print(f"| ready again with {gigabytes} GB after {how} | {time.monotonic() - start:.2f} s |", flush=True)
    cluster.stop()


def reads(cluster, seconds):
    """Each kind of read on the leader and on a follower, 64 connections."""
    begin(cluster)
    leader = run.wait(cluster.leader)
    other = next(node for node in (1, 2, 3) if node != leader)
    run.fill(address(leader), 10_000, 5)
    body = json.dumps({"lease_ms": 400}).encode()
    request = urllib.request.Request(f"http://{address(leader)}/api/settings", data=body, method="PUT",
                                     headers={"Content-Type": "application/json"})
    print("\n| read | on | rate | p50 | p99 | CPU/op, servers |\n|---|---|---|---|---|---|")
    kinds = [("linearizable", ""), ("min_revision=1", "&min_revision=1&consistency=stale"), ("stale", "&consistency=stale"),
             ("stale, max_staleness_ms=1000", "&consistency=stale&max_staleness_ms=1000"), ("lease", "&consistency=lease")]
    for name, query in kinds:
        if name == "lease":
            urllib.request.urlopen(request, timeout=5)
            time.sleep(2)
        for where, node in (("leader", leader), ("follower", other)):
            os.environ["QUERY"] = query
            spent = run.cpu(cluster.pids_alive())
            result = run.wrk(address(node), "get", 10_000, 64, seconds)
            spent = run.cpu(cluster.pids_alive()) - spent
            assert result["failed"] == 0, result
            print(f"| {name} | {where} | {result['rate']:,}/s | {result['p50_us'] / 1000:.2f} ms | "
                  f"{result['p99_us'] / 1000:.2f} ms | {spent * 1e6 / result['count']:.0f} us |", flush=True)
    cluster.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=[])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--gigabytes", type=float, default=1)
    options = parser.parse_args()
    parts = options.parts or ["failover", "restart", "folds", "snapshot", "reads"]
    if not os.environ.get("NOBUILD"):
        subprocess.run(["cargo", "build", "--release", "--bin", "quorate"], cwd=run.ROOT, check=True)
    binary = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(run.ROOT, "target")), "release/quorate")
    systems = [lambda: Quorate(binary)] + ([Etcd] if shutil.which("etcd") else [])
    if "failover" in parts:
        print("\n| first write after kill -9 of the leader | median | 90% | worst |\n|---|---|---|---|")
        for system in systems:
            print(failover(system(), options.times), flush=True)
    if "restart" in parts:
        print("\n| rolling restart | times | longest gap, median | worst | failed attempts |\n|---|---|---|---|---|")
        for system in systems:
            print(rolling_restart(system(), 3), flush=True)
    if "folds" in parts:
        os.environ["QUORATE_LOG_LEVEL"] = "info,quorate::node::applier=debug"
        print("\n| writes over 1,000,000 keys | count | p50 | p99 | p99.9 | longest |\n|---|---|---|---|---|---|")
        print(folds(Quorate(binary), 1_000_000, 1600, 60), flush=True)
        del os.environ["QUORATE_LOG_LEVEL"]
    if "snapshot" in parts:
        snapshot(Quorate(binary), options.gigabytes)
        print(f"\nthe same with texts for values ({options.gigabytes / 4:g} GB)")
        os.environ["VALUES"] = "text"
        snapshot(Quorate(binary), options.gigabytes / 4)
        del os.environ["VALUES"]
    if "reads" in parts:
        reads(Quorate(binary), 8)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: exit(1))
    main()
