// Mode `prove`: the checker checked. A mimic of the worker answers records of the foreign producer in one transaction,
// rightly or with one fault, and the checker must find exactly that. Each fault has its own topics.

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

final class Mimic {
    /** Fault, and what the checker has to say about it. */
    private static final Map<String, String> FAULTS = new LinkedHashMap<>();

    static {
        FAULTS.put("none", "");
        FAULTS.put("lost", "is not answered");
        FAULTS.put("twice", "is answered 2 times");
        FAULTS.put("both", "is answered 2 times");
        FAULTS.put("order", "order broken");
        FAULTS.put("partition", "belongs into partition");
        FAULTS.put("ghost", "which does not exist");
        FAULTS.put("header", "no header src.offset");
        FAULTS.put("key", "its key is not that of");
        FAULTS.put("id", "has id");
        FAULTS.put("model", "has model");
        FAULTS.put("rows", "has 3 rows");
        FAULTS.put("row-id", "row 0 has id");
        FAULTS.put("nan", "score NaN");
        FAULTS.put("infinite", "top_k is not finite");
        FAULTS.put("trailing", "behind the record's end");
        FAULTS.put("verdict", "which is well formed");
        FAULTS.put("accepted", "which is no request");
        FAULTS.put("reason", "expected 'truncated'");
        FAULTS.put("original", "its value is not that of");
        FAULTS.put("marked", "a second marker of");
        FAULTS.put("offsets", "is committed at");
        FAULTS.put("open", "a transaction is open");
        FAULTS.put("aborted", "is not answered"); // written and aborted: a read_committed reader has no answer
    }

    private final String bootstrap, base;

    Mimic(Checker.Options options) {
        bootstrap = options.bootstrap();
        base = options.text("prefix", "prove.");
    }

    int prove() throws Exception {
        int missed = 0;
        for (Map.Entry<String, String> fault : FAULTS.entrySet()) {
            String said = run(fault.getKey());
            boolean clean = said.contains(", 0 violations");
            boolean seen = fault.getValue().isEmpty() ? clean : !clean && said.contains(fault.getValue());
            System.out.printf("%s: %s%n", fault.getKey(), seen ? "as it should be" : "MISSED, the checker said:\n" + said);
            missed += seen ? 0 : 1;
        }
        System.out.printf("proved %d faults, %d missed%n", FAULTS.size(), missed);
        return missed == 0 ? 0 : 1;
    }

    private Checker.Options options(String mode, String... more) {
        List<String> words = new ArrayList<>(List.of(mode, "--bootstrap", bootstrap));
        Collections.addAll(words, more);
        return new Checker.Options(words.toArray(new String[0]));
    }

    /** What the checker prints about topics with this fault. */
    private String run(String fault) throws Exception {
        String prefix = base + fault + ".";
        Path poison = Files.createTempFile("millrace-poison", ".txt");
        PrintStream console = System.out;
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        System.setOut(new PrintStream(said, true, StandardCharsets.UTF_8));
        try {
            for (String topic : new String[] {"inference/4", "predictions/2", "dead-letters/2"})
                new Foreign(options("topic", "--prefix", prefix, "--topic", topic.split("/")[0], "--partitions",
                    topic.split("/")[1])).topic();
            new Foreign(options("produce", "--prefix", prefix, "--count", "48", "--rows", "4", "--shape", "1x2x2",
                "--poison-every", "5", "--poison-file", poison.toString())).produce();
            answer(prefix, fault);
            new Answers(options("answers", "--prefix", prefix, "--group", prefix, "--poison-file", poison.toString(),
                "--inputs", "48")).run();
        } finally {
            System.setOut(console);
            Files.delete(poison);
        }
        return said.toString(StandardCharsets.UTF_8);
    }

    // ---- the mimic ----

    private KafkaProducer<byte[], byte[]> producer(String id) {
        KafkaProducer<byte[], byte[]> p = new KafkaProducer<>(
            Map.of("bootstrap.servers", bootstrap, "transactional.id", id, "transaction.timeout.ms", "10000"),
            new ByteArraySerializer(), new ByteArraySerializer());
        p.initTransactions();
        return p;
    }

    private void answer(String prefix, String fault) throws Exception {
        List<ConsumerRecord<byte[], byte[]>> inputs = new ArrayList<>();
        try (Topics topics = new Topics(bootstrap, prefix + "inference")) {
            topics.drain(inputs::add);
        }
        List<ProducerRecord<byte[], byte[]>> outputs = new ArrayList<>();
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        boolean[] done = {false}; // a fault happens once, to the first record that fits
        for (ConsumerRecord<byte[], byte[]> in : inputs) {
            one(prefix, in, done[0] ? "none" : fault, outputs, done);
            long next = in.offset() + (fault.equals("offsets") ? 0 : 1);
            offsets.put(new TopicPartition(in.topic(), in.partition()), new OffsetAndMetadata(next));
        }
        try (KafkaProducer<byte[], byte[]> p = producer(prefix + "mimic");
             KafkaConsumer<byte[], byte[]> member = new KafkaConsumer<>(
                 Map.of("bootstrap.servers", bootstrap, "group.id", prefix + ".infer", "enable.auto.commit", "false"),
                 new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            p.beginTransaction();
            outputs.forEach(p::send);
            p.sendOffsetsToTransaction(offsets, member.groupMetadata());
            if (fault.equals("aborted")) {
                p.flush();
                p.abortTransaction();
            } else
                p.commitTransaction();
        }
        settle(prefix);
        if (fault.equals("open"))
            leaveOpen(prefix);
    }

    /** A commit that returned is decided; its markers may still be on their way. */
    private void settle(String prefix) throws Exception {
        long deadline = System.nanoTime() + 60_000_000_000L;
        try (Topics topics = new Topics(bootstrap, prefix + "predictions", prefix + "dead-letters")) {
            while (!topics.openTransactions().isEmpty() && System.nanoTime() < deadline)
                Thread.sleep(20);
        }
    }

    /** A worker that died in a transaction: nothing ends it but its timeout. */
    private void leaveOpen(String prefix) throws Exception {
        KafkaProducer<byte[], byte[]> p = producer(prefix + "dead");
        p.beginTransaction();
        p.send(new ProducerRecord<>(prefix + "predictions", 0, null, new byte[0])).get();
        // Closing would abort; its threads are daemons and end with the checker.
    }

    private void one(String prefix, ConsumerRecord<byte[], byte[]> in, String fault,
        List<ProducerRecord<byte[], byte[]>> outputs, boolean[] done) {
        Records.Inference request = null;
        String reason = "empty";
        try {
            if (in.value() != null)
                request = new Records.Inference(in.value());
        } catch (Avro.Malformed e) {
            reason = e.reason;
        }
        boolean ofPoison = fault.equals("accepted") || fault.equals("reason") || fault.equals("original");
        boolean fits = ofPoison ? reason.equals("truncated") : request != null && in.offset() >= 2;
        String f = fits ? fault : "none";
        done[0] |= !f.equals("none");
        if (f.equals("lost"))
            return;
        if (request == null && !f.equals("accepted") || f.equals("verdict"))
            outputs.add(deadLetter(prefix, in, request == null ? reason : "truncated", f));
        else
            outputs.add(prediction(prefix, in, request, f));
        if (f.equals("twice"))
            outputs.add(outputs.get(outputs.size() - 1));
        if (f.equals("both"))
            outputs.add(deadLetter(prefix, in, "unknown_model", f));
        if (f.equals("marked"))
            outputs.addAll(List.of(marker(prefix, in), marker(prefix, in)));
        if (f.equals("order"))
            Collections.swap(outputs, outputs.size() - 1, previousOf(outputs, in));
    }

    /** The answer before this one that went into the same partition for the same input partition. */
    private static int previousOf(List<ProducerRecord<byte[], byte[]>> outputs, ConsumerRecord<byte[], byte[]> in) {
        for (int i = outputs.size() - 2; i >= 0; i--) {
            Header h = outputs.get(i).headers().lastHeader("src.partition");
            if (h != null && new String(h.value(), StandardCharsets.UTF_8).equals("" + in.partition()))
                return i;
        }
        throw new IllegalStateException("no earlier answer to partition " + in.partition());
    }

    private static byte[] bytes(Object value) {
        return value.toString().getBytes(StandardCharsets.UTF_8);
    }

    private ProducerRecord<byte[], byte[]> prediction(String prefix, ConsumerRecord<byte[], byte[]> in,
        Records.Inference request, String f) {
        int partition = (in.partition() + (f.equals("partition") ? 1 : 0)) % 2;
        byte[] key = f.equals("key") ? bytes("another") : in.key();
        ProducerRecord<byte[], byte[]> out = new ProducerRecord<>(prefix + "predictions", partition, key, value(request, f));
        out.headers().add("src.topic", bytes(in.topic())).add("src.partition", bytes(in.partition()));
        if (!f.equals("header"))
            out.headers().add("src.offset", bytes(in.offset() + (f.equals("ghost") ? 1000 : 0)));
        out.headers().add("millrace.schema", bytes(1));
        return out;
    }

    private static byte[] value(Records.Inference request, String f) {
        String id = request == null ? "?" : request.id, model = request == null ? "?" : request.model;
        int rows = request == null ? 1 : (int) request.rows - (f.equals("rows") ? 1 : 0);
        Avro.Writer w = new Avro.Writer();
        w.putString(f.equals("id") ? "another" : id).putString(f.equals("model") ? "another" : model);
        w.putLong(1).putLong(rows);
        for (int i = 0; i < rows; i++) {
            String rowId = request == null || request.rowIds.isEmpty() ? "" : request.rowIds.get(i);
            w.putLong(1).putString(f.equals("row-id") ? "another" : rowId).putLong(Records.ROW_OK).putLong(7);
            w.putFloat(f.equals("nan") ? Float.NaN : 0.5f);
            w.putLong(1).putLong(7).putFloat(f.equals("infinite") ? Float.POSITIVE_INFINITY : 0.5f).putLong(0).putLong(0);
        }
        w.putLong(0).putLong(0).putLong(0); // end of rows, outputs, saliency
        w.putString("0".repeat(64)).putString("champion").putLong(0).putString("mimic");
        w.putLong(System.currentTimeMillis()).putLong(1).putLong(1);
        if (f.equals("trailing"))
            w.putByte(0);
        return w.bytes();
    }

    private static ProducerRecord<byte[], byte[]> marker(String prefix, ConsumerRecord<byte[], byte[]> in) {
        int partition = in.partition() % 2;
        ProducerRecord<byte[], byte[]> out = new ProducerRecord<>(prefix + "dead-letters", partition, in.key(), null);
        out.headers().add("dlq.replayed.partition", bytes(partition)).add("dlq.replayed.offset", bytes(0));
        return out;
    }

    private ProducerRecord<byte[], byte[]> deadLetter(String prefix, ConsumerRecord<byte[], byte[]> in, String reason, String f) {
        byte[] value = f.equals("original") ? bytes("another") : in.value();
        ProducerRecord<byte[], byte[]> out = new ProducerRecord<>(prefix + "dead-letters", in.partition() % 2, in.key(), value);
        in.headers().forEach(out.headers()::add);
        String[] pairs = {"topic", in.topic(), "partition", "" + in.partition(), "offset", "" + in.offset(), "timestamp",
            "" + in.timestamp(), "stage", "decode", "reason", f.equals("reason") ? "crash" : reason, "detail", "mimic",
            "attempts", "1", "worker", "mimic"};
        for (int i = 0; i < pairs.length; i += 2)
            out.headers().add("dlq." + pairs[i], bytes(pairs[i + 1]));
        return out;
    }
}
