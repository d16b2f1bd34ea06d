// The pipeline that a user of the JVM would write: kafka-clients, ONNX Runtime, transactions. Requests (InferenceBatch) in, Predictions
// out, exactly once, as fast as we know how: three threads (poll and decode, score, produce and commit) so that the broker's answers
// are waited for while rows are scored; Avro by hand; one direct buffer a batch; big fetches; several batches to a transaction.
// Takes uint8 tensors and answers label, score and the best class, as the bench asks for; no dead letters, no registry of models.
// Environment: BENCH_BOOTSTRAP, BENCH_PREFIX, BENCH_GROUP, BENCH_MODEL; THREADS of ONNX Runtime (1), BATCH_ROWS (256).
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Pipeline {
    static final int QUEUED = 8, TRANSACTION_ROWS = 16384;
    static final byte[] SCHEMA = "1".getBytes(StandardCharsets.US_ASCII);
    static String prefix;

    // ---- Avro by hand ----

    static final class Reader {
        byte[] b;
        int at;

        long number() {
            long v = 0;
            for (int shift = 0;; shift += 7) {
                byte x = b[at++];
                v |= (long) (x & 0x7f) << shift;
                if (x >= 0) return (v >>> 1) ^ -(v & 1);
            }
        }
        void skip() { // bytes or a string
            int n = (int) number();
            at += n;
        }
    }

    static final class Writer {
        byte[] b = new byte[1 << 16];
        int n;

        void room(int more) {
            if (n + more > b.length) b = java.util.Arrays.copyOf(b, Math.max(2 * b.length, n + more));
        }
        void number(long v) {
            room(10);
            long z = (v << 1) ^ (v >> 63);
            for (; (z & ~0x7fL) != 0; z >>>= 7) b[n++] = (byte) (z | 0x80);
            b[n++] = (byte) z;
        }
        void real(float f) {
            room(4);
            int v = Float.floatToIntBits(f);
            b[n++] = (byte) v;
            b[n++] = (byte) (v >> 8);
            b[n++] = (byte) (v >> 16);
            b[n++] = (byte) (v >> 24);
        }
        void bytes(byte[] from, int at, int size) {
            number(size);
            room(size);
            System.arraycopy(from, at, b, n, size);
            n += size;
        }
    }

    // ---- what travels ----

    static final class Request {
        ConsumerRecord<byte[], byte[]> from;
        int idAt, idSize, rows;
    }

    // Rows of one or more records, and the offsets that commit them.
    static final class Batch {
        final FloatBuffer in;
        final List<Request> requests = new ArrayList<>();
        final Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        ConsumerGroupMetadata group;
        int rows;
        float[] out;

        Batch(int floats) {
            in = ByteBuffer.allocateDirect(4 * floats).order(ByteOrder.nativeOrder()).asFloatBuffer();
        }
    }

    static final BlockingQueue<Batch> free = new ArrayBlockingQueue<>(64), decoded = new ArrayBlockingQueue<>(QUEUED),
                                      scored = new ArrayBlockingQueue<>(64);
    static int rowSize, classes, most, channels, height, width;
    static float[] pixels = new float[0]; // of one record

    // id, model, tensors [{name, dtype, shape, data}]: the rest is not looked at.
    static Batch take(Batch batch, ConsumerRecord<byte[], byte[]> record, Reader r) throws Exception {
        Request q = new Request();
        q.from = record;
        r.b = record.value();
        r.at = 0;
        q.idSize = (int) r.number();
        q.idAt = r.at;
        r.at += q.idSize;
        r.skip();
        if (r.number() != 1) throw new IllegalStateException("one tensor is wanted");
        r.skip();
        r.number();
        long block = r.number();
        q.rows = (int) r.number();
        for (long i = 1; i < block; i++) r.number();
        r.number();
        int size = (int) r.number();
        if (size != q.rows * rowSize) throw new IllegalStateException("a tensor of " + size + " bytes");
        if (batch != null && batch.rows + q.rows > Math.max(most, q.rows)) {
            decoded.put(batch);
            batch = null;
        }
        if (batch == null) batch = free.take();
        if (q.rows * rowSize > batch.in.capacity()) batch = new Batch(q.rows * rowSize);
        if (pixels.length < size) pixels = new float[size];
        byte[] b = r.b;
        for (int i = 0, at = r.at; i < size; i++) pixels[i] = (b[at + i] & 0xff) * (1 / 255f);
        batch.in.put(batch.rows * rowSize, pixels, 0, size);
        batch.rows += q.rows;
        batch.requests.add(q);
        batch.offsets.put(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
        return batch;
    }

    static void poll(KafkaConsumer<byte[], byte[]> consumer) throws Exception {
        Reader r = new Reader();
        for (;;) {
            var records = consumer.poll(Duration.ofMillis(100));
            ConsumerGroupMetadata group = consumer.groupMetadata();
            Batch batch = null;
            for (ConsumerRecord<byte[], byte[]> record : records) {
                batch = take(batch, record, r);
                batch.group = group;
            }
            if (batch != null) decoded.put(batch);
        }
    }

    static void score(OrtEnvironment env, OrtSession session) throws Exception {
        String input = session.getInputNames().iterator().next();
        for (;;) {
            Batch b = decoded.take();
            b.in.position(0).limit(b.rows * rowSize);
            try (OnnxTensor x = OnnxTensor.createTensor(env, b.in, new long[] {b.rows, channels, height, width});
                 OrtSession.Result y = session.run(Map.of(input, x))) {
                FloatBuffer out = ((OnnxTensor) y.get(0)).getFloatBuffer();
                if (b.out == null || b.out.length < out.remaining()) b.out = new float[out.remaining()];
                out.get(b.out, 0, out.remaining());
            }
            b.in.clear();
            scored.put(b);
        }
    }

    // id, model, version, rows [{id, status, label, score, top_k [{label, score}], error}], outputs, saliency, ...
    static void encode(Writer w, Batch b, Request q, int first, byte[] worker) {
        w.n = 0;
        w.bytes(q.from.value(), q.idAt, q.idSize);
        w.bytes(worker, 0, worker.length);
        w.number(1);
        if (q.rows > 0) w.number(q.rows);
        for (int i = 0; i < q.rows; i++) {
            int at = (first + i) * classes, best = 0;
            float max = b.out[at], sum = 0;
            for (int k = 1; k < classes; k++)
                if (b.out[at + k] > max) max = b.out[at + (best = k)];
            for (int k = 0; k < classes; k++) sum += (float) Math.exp(b.out[at + k] - max);
            w.number(0);
            w.number(1); // OK
            w.number(best);
            w.real(1 / sum);
            w.number(1);
            w.number(best);
            w.real(1 / sum);
            w.number(0);
            w.number(0);
        }
        w.number(0);
        w.number(0); // outputs
        w.number(0); // saliency
        w.bytes(worker, 0, 0);
        w.bytes(worker, 0, 0);
        w.number(0);
        w.bytes(worker, 0, worker.length);
        w.number(System.currentTimeMillis());
        w.number(0);
        w.number(0);
    }

    static void commit(KafkaProducer<byte[], byte[]> producer) throws Exception {
        Writer w = new Writer();
        byte[] worker = "java".getBytes(StandardCharsets.US_ASCII);
        List<Batch> done = new ArrayList<>();
        for (;;) {
            Batch b = scored.take();
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            int rows = 0;
            producer.beginTransaction();
            for (; b != null; b = rows < TRANSACTION_ROWS ? scored.poll() : null) {
                int first = 0;
                for (Request q : b.requests) {
                    encode(w, b, q, first, worker);
                    first += q.rows;
                    var record = new ProducerRecord<byte[], byte[]>(
                        prefix + "predictions", q.from.partition(), q.from.key(), java.util.Arrays.copyOf(w.b, w.n));
                    record.headers().add("millrace.schema", SCHEMA)
                        .add("src.topic", q.from.topic().getBytes(StandardCharsets.UTF_8))
                        .add("src.partition", Integer.toString(q.from.partition()).getBytes(StandardCharsets.US_ASCII))
                        .add("src.offset", Long.toString(q.from.offset()).getBytes(StandardCharsets.US_ASCII));
                    producer.send(record);
                }
                rows += b.rows;
                offsets.putAll(b.offsets);
                done.add(b);
            }
            producer.sendOffsetsToTransaction(offsets, done.get(done.size() - 1).group);
            producer.commitTransaction();
            for (Batch x : done) {
                x.requests.clear();
                x.offsets.clear();
                x.rows = 0;
                free.offer(x);
            }
            done.clear();
        }
    }

    // ---- settings ----

    static String env(String name, String fallback) {
        String v = System.getenv(name);
        return v == null || v.isEmpty() ? fallback : v;
    }

    static KafkaConsumer<byte[], byte[]> consumer() {
        Properties p = new Properties();
        p.put("bootstrap.servers", env("BENCH_BOOTSTRAP", "127.0.0.1:9092"));
        p.put("group.id", env("BENCH_GROUP", "java") + ".java");
        p.put("isolation.level", "read_committed");
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        p.put("max.poll.records", "4096");
        p.put("fetch.min.bytes", "65536");
        p.put("fetch.max.wait.ms", "20");
        p.put("fetch.max.bytes", "33554432");
        p.put("max.partition.fetch.bytes", "4194304");
        p.put("receive.buffer.bytes", "1048576");
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static KafkaProducer<byte[], byte[]> producer() {
        Properties p = new Properties();
        p.put("bootstrap.servers", env("BENCH_BOOTSTRAP", "127.0.0.1:9092"));
        p.put("transactional.id", env("BENCH_PREFIX", "") + "java");
        p.put("linger.ms", "5");
        p.put("batch.size", "1000000");
        p.put("buffer.memory", "67108864");
        p.put("max.request.size", "17825792");
        p.put("retry.backoff.ms", "5");
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    interface Task {
        void run() throws Exception;
    }
    static void thread(String name, Task task) {
        new Thread(() -> {
            try {
                task.run();
            } catch (Throwable e) {
                e.printStackTrace();
                System.exit(1);
            }
        }, name).start();
    }

    public static void main(String[] a) throws Exception {
        prefix = env("BENCH_PREFIX", "");
        most = Integer.parseInt(env("BATCH_ROWS", "256"));
        OrtEnvironment ort = OrtEnvironment.getEnvironment();
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(Integer.parseInt(env("THREADS", "1")));
        options.setInterOpNumThreads(1);
        options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
        OrtSession session = ort.createSession(env("BENCH_MODEL", "model.onnx"), options);
        long[] in = ((ai.onnxruntime.TensorInfo) session.getInputInfo().values().iterator().next().getInfo()).getShape();
        long[] out = ((ai.onnxruntime.TensorInfo) session.getOutputInfo().values().iterator().next().getInfo()).getShape();
        channels = (int) in[1];
        height = (int) in[2];
        width = (int) in[3];
        rowSize = channels * height * width;
        classes = (int) out[1];
        for (int i = 0; i < 2 * QUEUED; i++) free.put(new Batch(most * rowSize));
        KafkaProducer<byte[], byte[]> producer = producer();
        producer.initTransactions();
        KafkaConsumer<byte[], byte[]> consumer = consumer();
        Collection<String> topics = List.of(prefix + "inference");
        consumer.subscribe(topics);
        thread("score", () -> score(ort, session));
        thread("commit", () -> commit(producer));
        poll(consumer);
    }
}
