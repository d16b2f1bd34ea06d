// A newer libtorch through JavaCPP, on TorchScript that from_onnx.py made: forward after optimize_for_inference.
// arguments MODEL.pt CxHxW BATCH,BATCH... THREADS SECONDS REPETITIONS; or `warm`, which unpacks the natives
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

public final class JavaCpp {
    public static void main(String[] a) throws Exception {
        long began = System.nanoTime();
        Loader.load(torch.class);
        if (a[0].equals("warm")) return;
        int threads = Integer.parseInt(a[3]);
        torch.set_num_threads(threads);
        torch.manual_seed(1);
        NoGradGuard guard = new NoGradGuard();
        JitModule loaded = torch.load(a[0]);
        loaded.eval();
        JitModule model = torch.optimize_for_inference(loaded);
        double loadMs = Timing.ms(began);
        for (int batch : Timing.numbers(a[2])) {
            Tensor x = torch.rand(Timing.shape(batch, a[1]));
            Timing.measure("libtorch-2.10", "forward", batch, threads, Double.parseDouble(a[4]), Integer.parseInt(a[5]),
                loadMs, () -> {
                    try (PointerScope scope = new PointerScope()) {
                        model.forward(new IValueVector(new IValue(x))).toTensor();
                    }
                });
        }
        Runtime.getRuntime().halt(0);
    }
}
