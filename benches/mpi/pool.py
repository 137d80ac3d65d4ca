# The measurements of src/main.rs, on mpi4py: python3 -m mpi4py.futures pool.py WHAT
import sys
import time

from mpi4py.futures import MPIPoolExecutor


def same(x):
    return x


if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        list(pool.map(same, range(200)))
        if sys.argv[1] == "trip":
            times = []
            for n in range(3000):
                begun = time.perf_counter()
                pool.submit(same, n).result()
                times.append(time.perf_counter() - begun)
            print(f"{sorted(times)[1500] * 1e6:.1f}", flush=True)
        else:
            tasks = 20000
            begun = time.perf_counter()
            futures = [pool.submit(same, n) for n in range(tasks)]
            assert [future.result() for future in futures] == list(range(tasks))
            print(f"{tasks / (time.perf_counter() - begun):.0f}", flush=True)
