// libtorch as PyTorch builds it, through DJL, on TorchScript that from_onnx.py made: forward of the frozen net, or training.
// arguments forward|train MODEL.pt CxHxW BATCH,BATCH... THREADS SECONDS REPETITIONS
import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.inference.Predictor;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.repository.zoo.Criteria;
import ai.djl.repository.zoo.ZooModel;
import ai.djl.training.DefaultTrainingConfig;
import ai.djl.training.GradientCollector;
import ai.djl.training.Trainer;
import ai.djl.training.loss.Loss;
import ai.djl.training.optimizer.Optimizer;
import ai.djl.training.tracker.Tracker;
import ai.djl.translate.NoopTranslator;
import java.nio.file.Path;

public final class Djl {
    private static Timing.Step training(ZooModel<NDList, NDList> model, NDManager memory, NDArray x, int batch) {
        NDArray y = memory.randomInteger(0, 10, new Shape(batch), DataType.INT64);
        Loss loss = Loss.softmaxCrossEntropyLoss();
        Optimizer sgd =
            Optimizer.sgd().setLearningRateTracker(Tracker.fixed(1e-4f)).optMomentum(0.9f).build();
        Trainer trainer = model.newTrainer(
            new DefaultTrainingConfig(loss).optDevices(new Device[] {Device.cpu()}).optOptimizer(sgd));
        trainer.initialize(x.getShape());
        return () -> {
            try (NDManager inner = memory.newSubManager()) {
                NDArray rows = x.duplicate();
                rows.attach(inner);
                try (GradientCollector gradients = trainer.newGradientCollector()) {
                    NDList out = trainer.forward(new NDList(rows), new NDList(y));
                    gradients.backward(loss.evaluate(new NDList(y), out));
                    out.close();
                }
                trainer.step();
            }
        };
    }

    private static Timing.Step forward(ZooModel<NDList, NDList> model, NDArray x) {
        Predictor<NDList, NDList> predictor = model.newPredictor();
        NDList rows = new NDList(x);
        return () -> predictor.predict(rows).close();
    }

    public static void main(String[] a) throws Exception {
        boolean train = a[0].equals("train");
        int threads = Integer.parseInt(a[4]);
        System.setProperty("ai.djl.offline", "true");
        System.setProperty("OPT_OUT_TRACKING", "true");
        System.setProperty("ai.djl.pytorch.num_threads", a[4]);
        System.setProperty("ai.djl.pytorch.num_interop_threads", "1");
        long began = System.nanoTime();
        Engine engine = Engine.getEngine("PyTorch");
        NDManager memory = NDManager.newBaseManager(Device.cpu(), "PyTorch");
        Criteria.Builder<NDList, NDList> criteria = Criteria.builder().setTypes(NDList.class, NDList.class)
            .optModelPath(Path.of(a[1])).optEngine("PyTorch").optDevice(Device.cpu())
            .optTranslator(new NoopTranslator());
        if (train) criteria.optOption("trainParam", "true");
        ZooModel<NDList, NDList> model = criteria.build().loadModel();
        double loadMs = Timing.ms(began);
        for (int batch : Timing.numbers(a[3])) {
            NDArray x = memory.randomUniform(0, 1, new Shape(Timing.shape(batch, a[2])));
            Timing.measure("libtorch-" + engine.getVersion(), a[0], batch, threads, Double.parseDouble(a[5]),
                Integer.parseInt(a[6]), loadMs, train ? training(model, memory, x, batch) : forward(model, x));
        }
        Runtime.getRuntime().halt(0); // its clean-up may wait for ever
    }
}
