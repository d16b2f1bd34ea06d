// Modes `produce` and `topic`: a producer that is not ours. InferenceBatch records of noise from a seed, written by
// hand, poison among them where asked, each poison's place and expected reason in a file for `answers`.

import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
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

    /** A way to be poison, and the reason its dead letter must carry. */
    private record Way(String name, String reason) {
        Way(String reason) {
            this(reason, reason);
        }
    }

    private static final Way[] POISON = {new Way("truncated"), new Way("trailing_bytes"), new Way("empty"), new Way("bad_avro"),
        new Way("bad_shape"), new Way("bad_request"), new Way("bad_dtype"), new Way("one_byte", "truncated"),
        new Way("huge_length", "truncated"), new Way("negative_length", "bad_avro"), new Way("long_varint", "bad_avro"),
        new Way("not_utf8", "bad_avro"), new Way("bad_branch", "bad_avro"), new Way("negative_dimension", "bad_shape"),
        new Way("overflowing_shape", "bad_shape"), new Way("no_source", "bad_request"), new Way("negative_top_k", "bad_request"),
        new Way("row_ids", "bad_request"), new Way("unknown_model"), new Way("unknown_schema")};
    private static final Way GOOD = new Way("");

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

    private byte[] value(String id, Way way) {
        String poison = way.name();
        if (poison.equals("empty"))
            return null;
        long elements = rows;
        for (long d : shape)
            elements *= d;
        Avro.Writer w = new Avro.Writer();
        switch (poison) {
        case "bad_request" -> w.putString("");
        case "not_utf8" -> w.putBytes(new byte[] {'a', (byte) 0xc3});
        case "negative_length" -> w.putLong(-2);
        case "huge_length" -> w.putLong(Long.MAX_VALUE);
        case "long_varint" -> {
            for (int i = 0; i < 10; i++)
                w.putByte(0x80);
            w.putByte(0);
        }
        default -> w.putString(id);
        }
        w.putString(poison.equals("unknown_model") ? "nobody" : model);
        if (!poison.equals("no_source"))
            putTensor(w, poison, elements);
        w.putLong(0); // the end of the tensors
        w.putLong(poison.equals("bad_branch") ? 2 : 0).putLong(0); // images, external: null
        long ids = poison.equals("row_ids") ? rows + 1 : poison.equals("no_source") ? 0 : rows;
        if (ids > 0)
            w.putLong(ids);
        for (long i = 0; i < ids; i++)
            w.putString(id + "." + i);
        w.putLong(0);
        w.putLong(System.currentTimeMillis()).putLong(0); // created_at; no deadline
        w.putLong(poison.equals("negative_top_k") ? -1 : options.number("top-k", 3)).putByte(0).putByte(0).putLong(0);
        byte[] good = w.bytes();
        return switch (poison) {
        case "truncated" -> Arrays.copyOf(good, good.length / 2);
        case "one_byte" -> Arrays.copyOf(good, 1);
        case "trailing_bytes" -> Arrays.copyOf(good, good.length + 3);
        default -> good;
        };
    }

    private void putTensor(Avro.Writer w, String poison, long elements) {
        w.putLong(1).putString("");
        w.putLong(poison.equals("bad_avro") ? 11 : poison.equals("bad_dtype") ? 0 : floats ? FP32 : UINT8);
        w.putLong(shape.length + 1);
        w.putLong(switch (poison) {
        case "bad_shape" -> rows + 1;
        case "negative_dimension" -> -rows;
        case "overflowing_shape" -> Long.MAX_VALUE;
        default -> rows;
        });
        for (long d : shape)
            w.putLong(d);
        w.putLong(0).putBytes(data(elements * (floats ? 4 : 1)));
    }

    /** Which way record i is poison: one in `poison-every`; or, one in `crash-every`, a record that a program built for tests
     *  crashes on, where it is taken and where it is computed in turns. */
    private Way way(long i) {
        long every = options.number("poison-every", 0), crash = options.number("crash-every", 0);
        if (crash > 0 && i % crash == crash / 2)
            return i / crash % 2 == 0 ? new Way("hook-crash-take", "crash") : new Way("hook-crash-compute", "crash");
        return every > 0 && i % every == every - 1 ? POISON[(int) (i / every % POISON.length)] : GOOD;
    }

    private ProducerRecord<byte[], byte[]> record(String topic, int partition, long i, Way way) {
        String id = (way.name().startsWith("hook-") ? way.name() : options.text("id-prefix", "foreign")) + "-" + i;
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, partition, id.getBytes(), value(id, way));
        if (way.name().equals("unknown_schema"))
            record.headers().add("millrace.schema", "99".getBytes());
        return record;
    }

    int produce() throws Exception {
        String topic = options.topic(options.text("topic", "inference"));
        long count = options.number("count", 100), rate = options.number("rate", 0);
        Path hurry = options.text("hurry-file", null) == null ? null : Path.of(options.text("hurry-file", null));
        List<Way> ways = new ArrayList<>();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        long start = System.nanoTime();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(
                 Map.of("bootstrap.servers", options.bootstrap(), "acks", "all", "linger.ms", "5", "max.request.size",
                     17 << 20, "buffer.memory", 64L << 20, "delivery.timeout.ms", Integer.MAX_VALUE,
                     "max.block.ms", 600000), // tests kill brokers
                 new ByteArraySerializer(), new ByteArraySerializer())) {
            int partitions = producer.partitionsFor(topic).size();
            for (long i = 0; i < count; i++) {
                ways.add(way(i));
                sent.add(producer.send(record(topic, (int) (i % partitions), i, ways.get((int) i))));
                while (rate > 0 && System.nanoTime() - start < (i + 1) * 1_000_000_000L / rate) {
                    Thread.sleep(1);
                    if (hurry != null && Files.exists(hurry))
                        rate = 0;
                }
            }
        }
        try (PrintWriter file = options.text("poison-file", null) == null ? null : new PrintWriter(options.text("poison-file", null))) {
            for (int i = 0; i < sent.size(); i++) {
                RecordMetadata at = sent.get(i).get();
                if (file != null && ways.get(i) != GOOD)
                    file.println(at.partition() + " " + at.offset() + " " + ways.get(i).reason());
            }
        }
        long poisoned = ways.stream().filter(w -> w != GOOD).count();
        System.out.printf("produced %d records, %d of them poison%n", count, poisoned);
        return 0;
    }
}
