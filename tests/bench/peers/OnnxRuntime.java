// ONNX Runtime on an ONNX file: arguments MODEL.onnx CxHxW BATCH,BATCH... THREADS SECONDS REPETITIONS
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Map;
import java.util.Random;

public final class OnnxRuntime {
    public static void main(String[] a) throws Exception {
        int threads = Integer.parseInt(a[3]);
        long began = System.nanoTime();
        OrtEnvironment env = OrtEnvironment.getEnvironment();
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(threads);
        options.setInterOpNumThreads(1);
        options.setExecutionMode(OrtSession.SessionOptions.ExecutionMode.SEQUENTIAL);
        options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
        OrtSession session = env.createSession(a[0], options);
        double loadMs = Timing.ms(began);
        for (int batch : Timing.numbers(a[2])) {
            long[] shape = Timing.shape(batch, a[1]);
            int n = 1;
            for (long d : shape) n *= (int) d;
            FloatBuffer in = ByteBuffer.allocateDirect(4 * n).order(ByteOrder.nativeOrder()).asFloatBuffer();
            Random random = new Random(1);
            for (int i = 0; i < n; i++) in.put(i, random.nextFloat());
            try (OnnxTensor x = OnnxTensor.createTensor(env, in, shape)) {
                Map<String, OnnxTensor> feed = Map.of(session.getInputNames().iterator().next(), x);
                Timing.measure("onnxruntime-" + env.getVersion(), "forward", batch, threads, Double.parseDouble(a[4]),
                    Integer.parseInt(a[5]), loadMs, () -> session.run(feed).close());
            }
        }
    }
}
