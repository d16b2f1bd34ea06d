// What every peer in Java measures, and the line it prints: engine, mode, batch, threads, images/s (median, lowest, highest),
// images per second of the calling thread's CPU time, peak memory in MiB, milliseconds to load and of the first step.
// The same rules as ../rates.c.
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;

final class Timing {
    interface Step {
        void run() throws Exception;
    }

    private Timing() {}

    static double ms(long since) {
        return (System.nanoTime() - since) / 1e6;
    }

    private static long cpu() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }

    private static double peakMiB() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status")))
            if (line.startsWith("VmHWM:")) return Double.parseDouble(line.replaceAll("\\D", "")) / 1024;
        return 0;
    }

    private static double[] repeat(int batch, double seconds, Step step) throws Exception {
        long images = 0, wall = System.nanoTime(), cpu = cpu();
        do {
            step.run();
            images += batch;
        } while (ms(wall) < 1e3 * seconds);
        double took = ms(wall) / 1e3;
        return new double[] {images / took, images * 1e9 / (cpu() - cpu)};
    }

    static void measure(String engine, String mode, int batch, int threads, double seconds, int repetitions, double loadMs,
            Step step) throws Exception {
        long began = System.nanoTime();
        step.run();
        double firstMs = ms(began);
        // Once more, and for a repetition: libtorch looks at two runs before it compiles.
        boolean slow = firstMs > 3000;
        if (!slow) repeat(batch, 0, step);
        if (firstMs < 1e3 * seconds) repeat(batch, seconds, step);
        double[] wall = new double[repetitions], cpu = new double[repetitions];
        int n = 0;
        began = System.nanoTime();
        while (n < repetitions && (n < (slow ? 1 : 2) || ms(began) < 3e3 * repetitions * seconds)) {
            double[] rate = repeat(batch, seconds, step);
            wall[n] = rate[0];
            cpu[n++] = rate[1];
        }
        Arrays.sort(wall, 0, n);
        Arrays.sort(cpu, 0, n);
        System.out.printf(Locale.ROOT, "%s\t%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f%n", engine, mode, batch,
            threads, wall[n / 2], wall[0], wall[n - 1], cpu[n / 2], peakMiB(), loadMs, firstMs);
        System.out.flush();
    }

    static int[] numbers(String list) {
        return Arrays.stream(list.split(",")).mapToInt(Integer::parseInt).toArray();
    }

    static long[] shape(int batch, String row) {
        String[] dims = row.split("x");
        long[] shape = new long[dims.length + 1];
        shape[0] = batch;
        for (int i = 0; i < dims.length; i++) shape[i + 1] = Long.parseLong(dims[i]);
        return shape;
    }
}
