"""CPython's pools: measures what each line of its input asks for, and answers with a line."""

import os
import signal
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import Pool
from statistics import median
from time import perf_counter_ns, sleep


class PoolOfProcesses:
    """`multiprocessing.Pool` with an executor's names for the same."""

    def __init__(self, workers):
        self.pool = Pool(workers)

    def submit(self, f, *args):
        result = self.pool.apply_async(f, args)
        result.result = result.get
        return result

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.terminate()
        self.pool.join()


def same(n):
    return n


def submit_and_wait(pool, tasks):
    futures = [pool.submit(same, n) for n in range(tasks)]
    assert sum(future.result() for future in futures) == tasks * (tasks - 1) // 2


def burst(pool, tasks):
    start = perf_counter_ns()
    submit_and_wait(pool, tasks)
    return [(perf_counter_ns() - start) / tasks]


def round_trip(pool, trips, asleep_trips=0, rest=0):
    """Hot trips; and trips after that many milliseconds of rest each, if there are any."""

    def trip(n):
        start = perf_counter_ns()
        assert pool.submit(same, n).result() == n
        return perf_counter_ns() - start

    times = sorted(trip(n) for n in range(trips))
    values = [times[(trips - 1) // 2], times[int((trips - 1) * 0.99)]]
    if asleep_trips:
        times = []
        for n in range(asleep_trips):
            sleep(rest / 1000)
            times.append(trip(n))
        values.append(median(times))
    return values


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


def prepare(size):
    global prepared
    prepared = bytes(size)


def take_prepared():
    return prepared


def bytes_both_ways(pool, size, times):
    """Bytes as arguments and as results; the pool has one worker."""
    arguments, results = [], []
    for _ in range(times):
        argument = bytes(size)
        start = perf_counter_ns()
        assert pool.submit(len, argument).result() == size
        arguments.append(perf_counter_ns() - start)
        pool.submit(prepare, size).result()
        start = perf_counter_ns()
        assert len(pool.submit(take_prepared).result()) == size
        results.append(perf_counter_ns() - start)
    return [median(arguments) / 1e3, median(results) / 1e3]


def die(path):
    with open(path, "w") as file:
        file.write(str(perf_counter_ns()))
    os.kill(os.getpid(), signal.SIGKILL)


def death(_, deaths):
    """From a worker's death to the news of it. It is the end of the pool, so that each has one."""
    times = []
    for _ in range(deaths):
        with ProcessPoolExecutor(1) as pool, tempfile.NamedTemporaryFile() as file:
            submit_and_wait(pool, 1)
            assert pool.submit(die, file.name).exception() is not None
            times.append(perf_counter_ns() - int(file.read()))
    return [median(times) / 1e3]


POOLS = {
    "ThreadPoolExecutor": ThreadPoolExecutor,
    "ProcessPoolExecutor": ProcessPoolExecutor,
    "Pool": PoolOfProcesses,
}

WORKLOADS = {
    "burst": burst,
    "round_trip": round_trip,
    "submitters": submitters,
    "bytes": bytes_both_ways,
    "death": death,
}


def main():
    for line in sys.stdin:
        pool, workload, workers, *sizes = line.split()
        with POOLS[pool](int(workers)) as pool:
            submit_and_wait(pool, 100)
            print(*WORKLOADS[workload](pool, *map(int, sizes)), flush=True)


# A process that starts by reading this file again is a worker.
if __name__ == "__main__":
    main()
