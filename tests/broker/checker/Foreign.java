// Modes `produce` and `topic`: a producer that is not ours. InferenceBatch records of noise from a seed, written by
// hand, poison among them where asked, each poison's place and expected reason in a file for `answers`.

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

final class Foreign {
    private static final int UINT8 = 2, FP32 = 9;
    private static final String[] POISON = {"truncated", "trailing_bytes", "empty", "bad_avro", "bad_shape", "bad_request"};

    private final Checker.Options options;
    private final Random random;
    private final String model;
    private final long rows;
    private final long[] shape;
    private final boolean floats;

    Foreign(Checker.Options options) {
        this.options = options;
        random = new Random(options.number("seed", 1));
        model = options.text("model", "digits");
        rows = options.number("rows", 16);
        floats = options.text("dtype", "u8").equals("f32");
        String[] words = options.text("shape", "3x32x32").split("[x,]");
        shape = new long[words.length];
        for (int i = 0; i < words.length; i++)
            shape[i] = Long.parseLong(words[i]);
    }

    int topic() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) options.bootstrap()))) {
            NewTopic topic = new NewTopic(options.topic(options.text("topic", null)),
                Optional.of((int) options.number("partitions", 1)), Optional.empty());
            admin.createTopics(List.of(topic)).all().get();
        }
        return 0;
    }

    private byte[] data(long size) {
        byte[] data = new byte[(int) size];
        random.nextBytes(data);
        if (floats) // little endian, 0.5 to 2: any 23 bits behind the exponent of 1 or 1/2
            for (int i = 0; i + 3 < data.length; i += 4) {
                data[i + 3] = 0x3f;
                data[i + 2] |= (byte) 0x80;
            }
        return data;
    }

    /** `poison` null: a good record. */
    private byte[] value(String id, String poison) {
        if ("empty".equals(poison))
            return null;
        long elements = rows;
        for (long d : shape)
            elements *= d;
        Avro.Writer w = new Avro.Writer();
        w.putString("bad_request".equals(poison) ? "" : id).putString(model);
        w.putLong(1).putString("");
        w.putLong("bad_avro".equals(poison) ? 11 : floats ? FP32 : UINT8);
        w.putLong(shape.length + 1).putLong("bad_shape".equals(poison) ? rows + 1 : rows);
        for (long d : shape)
            w.putLong(d);
        w.putLong(0).putBytes(data(elements * (floats ? 4 : 1))).putLong(0);
        w.putLong(0).putLong(0); // images, external: null
        w.putLong(rows);
        for (long i = 0; i < rows; i++)
            w.putString(id + "." + i);
        w.putLong(0);
        w.putLong(System.currentTimeMillis()).putLong(0); // created_at; no deadline
        w.putLong(options.number("top-k", 3)).putByte(0).putByte(0).putLong(0);
        byte[] good = w.bytes();
        if ("truncated".equals(poison))
            return java.util.Arrays.copyOf(good, good.length / 2);
        if ("trailing_bytes".equals(poison))
            return java.util.Arrays.copyOf(good, good.length + 3);
        return good;
    }

    int produce() throws Exception {
        String topic = options.topic(options.text("topic", "inference"));
        long count = options.number("count", 100), every = options.number("poison-every", 0), rate = options.number("rate", 0);
        List<String> poisons = new ArrayList<>();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        long start = System.nanoTime();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(
                 Map.of("bootstrap.servers", options.bootstrap(), "acks", "all", "linger.ms", "5", "max.request.size",
                     17 << 20, "buffer.memory", 64L << 20, "delivery.timeout.ms", Integer.MAX_VALUE),
                 new ByteArraySerializer(), new ByteArraySerializer())) {
            int partitions = producer.partitionsFor(topic).size();
            for (long i = 0; i < count; i++) {
                String id = options.text("id-prefix", "foreign") + "-" + i;
                String poison = every > 0 && i % every == every - 1 ? POISON[(int) (i / every % POISON.length)] : null;
                poisons.add(poison);
                sent.add(producer.send(
                    new ProducerRecord<>(topic, (int) (i % partitions), id.getBytes(), value(id, poison))));
                while (rate > 0 && System.nanoTime() - start < (i + 1) * 1_000_000_000L / rate)
                    Thread.sleep(1);
            }
        }
        try (PrintWriter file = options.text("poison-file", null) == null ? null : new PrintWriter(options.text("poison-file", null))) {
            for (int i = 0; i < sent.size(); i++) {
                RecordMetadata at = sent.get(i).get();
                if (file != null && poisons.get(i) != null)
                    file.println(at.partition() + " " + at.offset() + " " + poisons.get(i));
            }
        }
        long poisoned = poisons.stream().filter(p -> p != null).count();
        System.out.printf("produced %d records, %d of them poison%n", count, poisoned);
        return 0;
    }
}
