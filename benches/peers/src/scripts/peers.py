"""CPython's pool of threads: measures what each line of its input asks for, and answers with a line."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns


def same(n):
    return n


def submit_and_wait(pool, tasks):
    futures = [pool.submit(same, n) for n in range(tasks)]
    assert sum(future.result() for future in futures) == tasks * (tasks - 1) // 2


def burst(pool, tasks):
    start = perf_counter_ns()
    submit_and_wait(pool, tasks)
    return [(perf_counter_ns() - start) / tasks]


def round_trip(pool, trips):
    times = []
    for n in range(trips):
        start = perf_counter_ns()
        assert pool.submit(same, n).result() == n
        times.append(perf_counter_ns() - start)
    times.sort()
    return [times[(trips - 1) // 2], times[int((trips - 1) * 0.99)]]


def submitters(pool, threads, tasks):
    begin = threading.Barrier(threads)
    starts, ends = [], []

    def submitter():
        begin.wait()
        starts.append(perf_counter_ns())
        submit_and_wait(pool, tasks)
        ends.append(perf_counter_ns())

    started = [threading.Thread(target=submitter) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return [(max(ends) - min(starts)) / (threads * tasks)]


WORKLOADS = {"burst": burst, "round_trip": round_trip, "submitters": submitters}

for line in sys.stdin:
    _, workload, workers, *sizes = line.split()
    with ThreadPoolExecutor(int(workers)) as pool:
        submit_and_wait(pool, 100)
        print(*WORKLOADS[workload](pool, *map(int, sizes)), flush=True)
