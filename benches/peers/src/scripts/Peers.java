// Java's two pools: measures what each line of its input asks for, and answers with a line.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.Future;

public class Peers {
    // Runs before the first answer, in which the virtual machine compiles what runs often.
    static final int WARM_UP = 20;

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        boolean warm = false;
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            int[] sizes = Arrays.stream(words).skip(2).mapToInt(Integer::parseInt).toArray();
            for (int i = 0; !warm && i < WARM_UP; i++) {
                measure(words[0], words[1], sizes);
            }
            warm = true;
            System.out.println(measure(words[0], words[1], sizes));
        }
    }

    static String measure(String kind, String workload, int[] sizes) throws Exception {
        ExecutorService pool = kind.equals("ForkJoinPool")
            ? new ForkJoinPool(sizes[0])
            : Executors.newFixedThreadPool(sizes[0]);
        burst(pool, 10_000);
        String answer = switch (workload) {
            case "burst" -> burst(pool, sizes[1]);
            case "round_trip" -> roundTrip(pool, sizes[1]);
            case "submitters" -> submitters(pool, sizes[1], sizes[2]);
            default -> throw new IllegalArgumentException(workload);
        };
        pool.shutdown();
        return answer;
    }

    // An interface of two methods takes a lambda for either: this says which.
    static Future<Long> submit(ExecutorService pool, long n) {
        Callable<Long> task = () -> n;
        return pool.submit(task);
    }

    static void submitAndWait(ExecutorService pool, int tasks) throws Exception {
        @SuppressWarnings("unchecked")
        Future<Long>[] futures = new Future[tasks];
        for (int n = 0; n < tasks; n++) {
            futures[n] = submit(pool, n);
        }
        long sum = 0;
        for (Future<Long> future : futures) {
            sum += future.get();
        }
        if (sum != (long) tasks * (tasks - 1) / 2) {
            throw new AssertionError(sum);
        }
    }

    static String burst(ExecutorService pool, int tasks) throws Exception {
        long start = System.nanoTime();
        submitAndWait(pool, tasks);
        return String.valueOf((System.nanoTime() - start) / (double) tasks);
    }

    static String roundTrip(ExecutorService pool, int trips) throws Exception {
        long[] times = new long[trips];
        for (int n = 0; n < trips; n++) {
            long start = System.nanoTime();
            long answer = submit(pool, n).get();
            times[n] = System.nanoTime() - start;
            if (answer != n) {
                throw new AssertionError(answer);
            }
        }
        Arrays.sort(times);
        return times[(trips - 1) / 2] + " " + times[(int) ((trips - 1) * 0.99)];
    }

    static String submitters(ExecutorService pool, int threads, int tasks) throws Exception {
        var begin = new CyclicBarrier(threads);
        var submitters = new Thread[threads];
        long[] starts = new long[threads];
        long[] ends = new long[threads];
        for (int i = 0; i < threads; i++) {
            int own = i;
            submitters[own] = new Thread(() -> {
                try {
                    begin.await();
                    starts[own] = System.nanoTime();
                    submitAndWait(pool, tasks);
                    ends[own] = System.nanoTime();
                } catch (Exception e) {
                    throw new AssertionError(e);
                }
            });
            submitters[own].start();
        }
        for (Thread submitter : submitters) {
            submitter.join();
        }
        long taken = Arrays.stream(ends).max().getAsLong() - Arrays.stream(starts).min().getAsLong();
        return String.valueOf(taken / ((double) threads * tasks));
    }
}
