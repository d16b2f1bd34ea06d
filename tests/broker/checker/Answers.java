// Mode `answers`: every record of the inference topic is answered exactly once, by a Prediction whose supersedes
// is null or by one dead letter, in the order of its partition, in the right partition, with the right values.
// Leaves reading to Topics.java and the wire format to Records.java.

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.zip.CRC32C;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

final class Answers {
    /** Reasons that only a record's bytes or its millrace.schema header can justify. */
    private static final Set<String> FORMAT_REASONS =
        Set.of("empty", "bad_frame", "unknown_schema", "truncated", "trailing_bytes", "bad_avro");
    private static final Set<String> OTHER_REASONS = Set.of("bad_request", "bad_shape", "bad_dtype", "too_large",
        "unknown_model", "external_data", "crash", "non_finite", "bad_image");

    record Place(int partition, long offset) {
        @Override
        public String toString() {
            return "input " + partition + "/" + offset;
        }
    }

    private static final class Input {
        Records.Inference request; // null: malformed
        String reason = "", fault = "";
        boolean foreignSchema;
        long value, key, timestamp;
        List<String> headers;
    }

    /** A dead letter keeps its record: it is compared with the original, which may be read later. */
    private record Answer(String where, Records.Prediction prediction, long key, ConsumerRecord<byte[], byte[]> dead) {}

    private final Checker.Options options;
    private final Report report = new Report();
    private final String in, out, dead, group;
    private final Map<Place, Input> inputs = new LinkedHashMap<>();
    private final Map<Place, List<Answer>> answers = new LinkedHashMap<>();
    private final Map<String, Long> lastInPartition = new HashMap<>();
    private final Map<Place, String> deadLetters = new HashMap<>();
    private final Set<Place> replayed = new HashSet<>();
    private final Map<Integer, Long> lastInput = new HashMap<>();
    private final Set<String> superseded = new HashSet<>();
    private long rows, rowsOk, rowsBad, rowsExpired, right, judged;
    private long firstProduced = Long.MAX_VALUE, lastProduced = Long.MIN_VALUE, firstInput = Long.MAX_VALUE;

    Answers(Checker.Options options) {
        this.options = options;
        in = options.topic("inference");
        out = options.topic("predictions");
        dead = options.topic("dead-letters");
        group = options.text("group", "millrace") + ".infer";
    }

    int run() throws Exception {
        try (Topics topics = new Topics(options.bootstrap(), in, out, dead);
             Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) options.bootstrap()))) {
            long deadline = System.nanoTime() + options.number("timeout", 0) * 1_000_000_000L;
            long wanted = Math.max(options.number("wait", 0), options.number("inputs", 0));
            boolean complete;
            do {
                topics.drain(r -> take(topics, r));
                complete = inputs.size() >= wanted && answers.keySet().containsAll(inputs.keySet())
                    && topics.openTransactions().isEmpty()
                    && (options.flag("no-offsets") || offsets(topics, admin, null));
                if (!complete)
                    Thread.sleep(100);
            } while (!complete && System.nanoTime() < deadline);
            topics.drain(r -> take(topics, r)); // what came twice may come late
            topics.openTransactions().forEach(tp -> report.add("%s: a transaction is open", tp));
            if (!options.flag("no-offsets"))
                offsets(topics, admin, report);
        }
        judge();
        report.print();
        summary();
        return report.violations == 0 ? 0 : 1;
    }

    // ---- taking records ----

    private void take(Topics topics, ConsumerRecord<byte[], byte[]> r) {
        if (r.topic().equals(in))
            takeInput(r);
        else if (r.topic().equals(out))
            takePrediction(topics, r);
        else
            takeDeadLetter(topics, r);
    }

    private static long digest(byte[] bytes) {
        if (bytes == null)
            return -1;
        CRC32C crc = new CRC32C();
        crc.update(bytes);
        return crc.getValue() << 24 ^ bytes.length;
    }

    private static String text(Header h) {
        return h.value() == null ? "" : new String(h.value(), StandardCharsets.UTF_8);
    }

    private void takeInput(ConsumerRecord<byte[], byte[]> r) {
        Input input = new Input();
        input.value = digest(r.value());
        input.key = digest(r.key());
        input.timestamp = r.timestamp();
        input.headers = new ArrayList<>();
        for (Header h : r.headers()) {
            if (!h.key().startsWith("dlq.") || h.key().equals("dlq.attempts"))
                input.headers.add(h.key() + "=" + text(h));
            if (h.key().equals("millrace.schema"))
                input.foreignSchema = !text(h).equals("1");
        }
        try {
            if (r.value() == null)
                throw new Avro.Malformed("empty", "a tombstone");
            input.request = new Records.Inference(r.value());
        } catch (Avro.Malformed e) {
            input.reason = e.reason;
            input.fault = e.getMessage();
        }
        inputs.put(new Place(r.partition(), r.offset()), input);
        lastInput.merge(r.partition(), r.offset(), Math::max);
        firstInput = Math.min(firstInput, r.timestamp());
    }

    /** The one value of a header; reports none and several. */
    private String header(ConsumerRecord<byte[], byte[]> r, String name) {
        String found = null;
        for (Header h : r.headers().headers(name)) {
            if (found != null)
                report.add("%s: two headers %s", where(r), name);
            found = text(h);
        }
        if (found == null)
            report.add("%s: no header %s", where(r), name);
        return found == null ? "" : found;
    }

    private static String where(ConsumerRecord<byte[], byte[]> r) {
        return r.topic() + " " + r.partition() + "/" + r.offset();
    }

    private Place place(ConsumerRecord<byte[], byte[]> r, String kind) {
        try {
            return new Place(Integer.parseInt(header(r, kind + ".partition")), Long.parseLong(header(r, kind + ".offset")));
        } catch (NumberFormatException e) {
            report.add("%s: %s.partition or %s.offset is no decimal number", where(r), kind, kind);
            return null;
        }
    }

    /** Partition and order of an output against the input it names. */
    private void takePlace(Topics topics, ConsumerRecord<byte[], byte[]> r, Place p) {
        int expected = p.partition % topics.partitions(r.topic());
        if (r.partition() != expected)
            report.add("%s answers %s and belongs into partition %d", where(r), p, expected);
        Long before = lastInPartition.put(r.topic() + "/" + r.partition() + "/" + p.partition, p.offset);
        if (before != null && before >= p.offset)
            report.add("%s answers %s behind the answer to offset %d: order broken", where(r), p, before);
    }

    private void takePrediction(Topics topics, ConsumerRecord<byte[], byte[]> r) {
        String topic = header(r, "src.topic");
        Place p = place(r, "src");
        if (!header(r, "millrace.schema").equals("1"))
            report.add("%s: header millrace.schema is not 1", where(r));
        if (p == null || !topic.equals(in)) {
            report.add("%s answers topic '%s', not %s", where(r), topic, in);
            return;
        }
        Records.Prediction value;
        try {
            value = new Records.Prediction(r.value());
        } catch (Avro.Malformed | NullPointerException e) {
            report.add("%s: no Prediction: %s", where(r), e.getMessage());
            return;
        }
        if (value.supersedes != null) {
            if (!superseded.add(p + " " + value.version))
                report.add("%s: version %d answers %s again, twice", where(r), value.version, p);
            return;
        }
        takePlace(topics, r, p);
        value.faults.forEach(f -> report.add("%s: %s", where(r), f));
        answers.computeIfAbsent(p, x -> new ArrayList<>(1)).add(new Answer(where(r), value, digest(r.key()), null));
        firstProduced = Math.min(firstProduced, value.producedAt);
        lastProduced = Math.max(lastProduced, value.producedAt);
    }

    /** What `replay` writes behind a letter that it sent again: at most one for each, behind it. */
    private boolean takeMarker(ConsumerRecord<byte[], byte[]> r) {
        if (r.value() != null || r.headers().lastHeader("dlq.replayed.offset") == null)
            return false;
        Place letter = place(r, "dlq.replayed");
        if (letter != null && (letter.partition != r.partition() || letter.offset >= r.offset()))
            report.add("%s: a marker of %d/%d, which is not before it in its partition", where(r), letter.partition, letter.offset);
        if (letter != null && !replayed.add(letter))
            report.add("%s: a second marker of %d/%d", where(r), letter.partition, letter.offset);
        return true;
    }

    private void takeDeadLetter(Topics topics, ConsumerRecord<byte[], byte[]> r) {
        if (takeMarker(r))
            return;
        if (!header(r, "dlq.topic").equals(in))
            return; // of a sample or a job
        Place p = place(r, "dlq");
        if (p == null)
            return;
        takePlace(topics, r, p);
        String reason = header(r, "dlq.reason");
        if (!FORMAT_REASONS.contains(reason) && !OTHER_REASONS.contains(reason))
            report.add("%s: reason '%s' is none of the contract's", where(r), reason);
        if (header(r, "dlq.stage").isEmpty() | header(r, "dlq.worker").isEmpty())
            report.add("%s: dlq.stage or dlq.worker is empty", where(r));
        if (header(r, "dlq.detail").getBytes(StandardCharsets.UTF_8).length > 256)
            report.add("%s: dlq.detail is longer than 256 bytes", where(r));
        if (!header(r, "dlq.attempts").matches("[1-9][0-9]*"))
            report.add("%s: dlq.attempts is no number from 1", where(r));
        deadLetters.put(p, reason);
        answers.computeIfAbsent(p, x -> new ArrayList<>(1)).add(new Answer(where(r), null, digest(r.key()), r));
    }

    private void compareWithOriginal(ConsumerRecord<byte[], byte[]> r, Place p, Input input) {
        boolean truncated = r.headers().lastHeader("dlq.truncated") != null;
        if (!truncated && digest(r.value()) != input.value)
            report.add("%s: its value is not that of %s", where(r), p);
        if (!header(r, "dlq.timestamp").equals(Long.toString(input.timestamp)))
            report.add("%s: dlq.timestamp is not that of %s, %d", where(r), p, input.timestamp);
        List<String> kept = new ArrayList<>();
        for (Header h : r.headers())
            if (!h.key().startsWith("dlq."))
                kept.add(h.key() + "=" + text(h));
        List<String> expected = input.headers.stream().filter(h -> !h.startsWith("dlq.")).toList();
        if (!kept.equals(expected))
            report.add("%s: headers %s, those of %s are %s", where(r), kept, p, expected);
    }

    // ---- judging ----

    /** Whether the group stands behind the last record of every partition and not beyond its end. */
    private boolean offsets(Topics topics, Admin admin, Report to) throws InterruptedException {
        Map<TopicPartition, OffsetAndMetadata> found;
        try {
            found = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        } catch (ExecutionException e) {
            found = Map.of();
        }
        boolean good = true;
        for (Map.Entry<Integer, Long> last : lastInput.entrySet()) {
            OffsetAndMetadata at = found.get(new TopicPartition(in, last.getKey()));
            long committed = at == null ? -1 : at.offset(), end = topics.end(in, last.getKey());
            if (committed > last.getValue() && committed <= end)
                continue;
            good = false;
            if (to != null)
                to.add("group %s: %s/%d is committed at %d, its end is %d", group, in, last.getKey(), committed, end);
        }
        return good;
    }

    private void judge() throws Exception {
        long wanted = options.number("inputs", -1);
        if (wanted >= 0 && inputs.size() != wanted)
            report.add("%d input records, expected %d", inputs.size(), wanted);
        int[] labels = options.text("labels", null) == null ? null : Labels.read(Path.of(options.text("labels", null)));
        inputs.forEach((p, input) -> judgeOne(p, input, answers.getOrDefault(p, List.of()), labels));
        answers.forEach((p, list) -> {
            if (!inputs.containsKey(p))
                report.add("%s answers %s, which does not exist", list.get(0).where, p);
        });
        judgePoison();
    }

    private void judgeOne(Place p, Input input, List<Answer> list, int[] labels) {
        if (list.isEmpty())
            report.add("%s is not answered", p);
        if (list.size() > 1)
            report.add("%s is answered %d times: %s and %s", p, list.size(), list.get(0).where, list.get(1).where);
        for (Answer a : list) {
            if (a.key != input.key)
                report.add("%s: its key is not that of %s", a.where, p);
            if (a.dead != null)
                compareWithOriginal(a.dead, p, input);
            if (a.prediction != null && input.request == null)
                report.add("%s predicts for %s, which is no request: %s", a.where, p, input.fault);
            else if (a.prediction != null)
                judgeValues(p, input.request, a, labels);
            else if (input.request != null && FORMAT_REASONS.contains(deadLetters.get(p)) && !input.foreignSchema)
                report.add("%s calls %s '%s', which is well formed", a.where, p, deadLetters.get(p));
        }
    }

    private void judgeValues(Place p, Records.Inference request, Answer a, int[] labels) {
        Records.Prediction value = a.prediction;
        String[] name = request.model.split("@", 2);
        if (!value.id.equals(request.id))
            report.add("%s has id '%s', %s has '%s'", a.where, value.id, p, request.id);
        if (!value.model.equals(name[0]))
            report.add("%s has model '%s', %s asked '%s'", a.where, value.model, p, request.model);
        if (name.length == 2 && name[1].matches("[0-9]+") && !name[1].equals(Long.toString(value.version)))
            report.add("%s has version %d, %s asked '%s'", a.where, value.version, p, request.model);
        if (value.labels.length != request.rows)
            report.add("%s has %d rows, %s has %d", a.where, value.labels.length, p, request.rows);
        if (!value.sha256.matches("[0-9a-f]{64}") || value.version < 1)
            report.add("%s: version %d, weights_sha256 '%s'", a.where, value.version, value.sha256);
        for (int i = 0; i < value.labels.length; i++) {
            String expected = i < request.rowIds.size() ? request.rowIds.get(i) : null;
            if (expected == null ? value.rowIds[i] != null : !expected.equals(value.rowIds[i]))
                report.add("%s row %d has id '%s', expected '%s'", a.where, i, value.rowIds[i], expected);
            if (value.topK[i] > request.topK)
                report.add("%s row %d has %d top_k of %d", a.where, i, value.topK[i], request.topK);
            count(a, value.statuses[i], request);
            if (labels != null && expected != null && value.statuses[i] == Records.ROW_OK)
                compareLabel(a, expected, value.labels[i], labels);
        }
    }

    private void count(Answer a, int status, Records.Inference request) {
        rows++;
        if (status == Records.ROW_OK)
            rowsOk++;
        else if (status == Records.ROW_BAD_INPUT)
            rowsBad++;
        else
            rowsExpired++;
        if (status == Records.ROW_EXPIRED && !request.expires)
            report.add("%s: a row EXPIRED of a request without a deadline", a.where);
    }

    private void compareLabel(Answer a, String rowId, int label, int[] labels) {
        int row = rowId.matches("[0-9]{1,9}") ? Integer.parseInt(rowId) : -1;
        if (row < 0 || row >= labels.length) {
            report.add("%s: row id '%s' is no row of the labels file (%d rows)", a.where, rowId, labels.length);
            return;
        }
        judged++;
        if (labels[row] == label)
            right++;
    }

    private void judgePoison() throws Exception {
        long count = options.number("poison", -1);
        if (count >= 0 && deadLetters.size() != count)
            report.add("%d dead letters, expected %d", deadLetters.size(), count);
        String file = options.text("poison-file", null);
        if (file == null)
            return;
        Map<Place, String> expected = new HashMap<>();
        for (String line : Files.readAllLines(Path.of(file))) {
            String[] words = line.trim().split("\\s+");
            if (words.length >= 2)
                expected.put(new Place(Integer.parseInt(words[0]), Long.parseLong(words[1])), words.length > 2 ? words[2] : "");
        }
        expected.forEach((p, reason) -> {
            String found = deadLetters.get(p);
            if (found == null)
                report.add("%s is poison (%s) and no dead letter", p, reason);
            else if (!reason.isEmpty() && !reason.equals(found))
                report.add("%s is a dead letter for '%s', expected '%s'", p, found, reason);
        });
        deadLetters.forEach((p, reason) -> {
            if (!expected.containsKey(p))
                report.add("%s is a dead letter (%s) and was no poison", p, reason);
        });
    }

    private static String rate(long rows, long from, long to) {
        return to > from ? String.format("%.0f", rows * 1000.0 / (to - from)) : "null";
    }

    private void summary() {
        String accuracy = judged == 0 ? "null" : String.format("%.4f", (double) right / judged);
        if (options.flag("json"))
            System.out.printf("{\"records\":%d,\"predictions\":%d,\"dead_letters\":%d,\"rows\":%d,\"rows_ok\":%d,"
                    + "\"rows_bad\":%d,\"rows_expired\":%d,\"violations\":%d,\"first_input_ms\":%d,\"first_produced_ms\":%d,"
                    + "\"last_produced_ms\":%d,\"rows_per_second\":%s,\"rows_per_second_from_first_input\":%s,"
                    + "\"accuracy\":%s,\"accuracy_rows\":%d}%n",
                inputs.size(), answers.size() - deadLetters.size(), deadLetters.size(), rows, rowsOk, rowsBad, rowsExpired,
                report.violations, inputs.isEmpty() ? 0 : firstInput, rows == 0 ? 0 : firstProduced,
                rows == 0 ? 0 : lastProduced, rate(rows, firstProduced, lastProduced), rate(rows, firstInput, lastProduced),
                accuracy, judged);
        else if (judged > 0)
            System.out.printf("accuracy %s over %d rows%n", accuracy, judged);
        (options.flag("json") ? System.err : System.out).printf("checked %d records, %d rows, %d violations%n", inputs.size(), rows, report.violations);
    }
}
