// Modes `metrics` and `models`: what training leaves behind. Each job's LossMetrics are 1..N, once, in order, and
// its newest JobCheckpoint agrees; each version was created once, its file has its SHA-256, aliases mean versions.

import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;

final class Histories {
    private static final Set<String> TERMINAL = Set.of("COMPLETED", "FAILED", "STOPPED");

    private final Checker.Options options;
    private final Report report = new Report();

    Histories(Checker.Options options) {
        this.options = options;
    }

    private static String key(ConsumerRecord<byte[], byte[]> r) {
        return r.key() == null ? "" : new String(r.key(), StandardCharsets.UTF_8);
    }

    private static String where(ConsumerRecord<byte[], byte[]> r) {
        return r.topic() + " " + r.partition() + "/" + r.offset();
    }

    // ---- metrics ----

    private final Map<String, Records.LossMetric> lastMetric = new TreeMap<>();
    private final Map<String, Records.Checkpoint> lastCheckpoint = new TreeMap<>();
    private long records;

    int metrics() throws InterruptedException {
        String job = options.text("job", null), state = options.text("state", null);
        try (Topics topics = new Topics(options.bootstrap(), options.topic("metrics"), options.topic("checkpoints"))) {
            long deadline = System.nanoTime() + options.number("timeout", 0) * 1_000_000_000L;
            for (;;) {
                topics.drain(r -> takeHistory(r));
                if (job == null || ended(job) || System.nanoTime() >= deadline)
                    break;
                Thread.sleep(100);
            }
            topics.openTransactions().forEach(tp -> report.add("%s: a transaction is open", tp));
        }
        if (job != null && !lastMetric.containsKey(job))
            report.add("job %s has no metric", job);
        lastMetric.forEach((id, m) -> judgeJob(id, m, job == null || id.equals(job) ? state : null));
        report.print();
        System.out.printf("checked %d metrics of %d jobs, %d violations%n", records, lastMetric.size(), report.violations);
        return report.violations == 0 ? 0 : 1;
    }

    private boolean ended(String job) {
        return lastCheckpoint.containsKey(job) && TERMINAL.contains(lastCheckpoint.get(job).state);
    }

    private void judgeJob(String id, Records.LossMetric last, String state) {
        Records.Checkpoint c = lastCheckpoint.get(id);
        System.out.printf("job %s: metrics 1..%d, %s%n", id, last.sequence, c == null ? last.state : c.state);
        if (c == null)
            report.add("job %s has metrics and no JobCheckpoint", id);
        else if (c.sequence != last.sequence)
            report.add("job %s: its newest JobCheckpoint says sequence %d, its metrics end at %d", id, c.sequence, last.sequence);
        if (state != null && (c == null || !c.state.equals(state)))
            report.add("job %s is %s, expected %s", id, c == null ? last.state : c.state, state);
    }

    private void takeHistory(ConsumerRecord<byte[], byte[]> r) {
        if (r.value() == null)
            return;
        try {
            if (r.topic().equals(options.topic("metrics")))
                takeMetric(r, new Records.LossMetric(r.value()));
            else
                takeCheckpoint(r, new Records.Checkpoint(r.value()));
        } catch (Avro.Malformed e) {
            report.add("%s: %s", where(r), e.getMessage());
        }
    }

    private void takeCheckpoint(ConsumerRecord<byte[], byte[]> r, Records.Checkpoint c) {
        if (!key(r).equals(c.job))
            report.add("%s: key '%s' of job '%s'", where(r), key(r), c.job);
        lastCheckpoint.put(c.job, c);
    }

    private void takeMetric(ConsumerRecord<byte[], byte[]> r, Records.LossMetric m) {
        records++;
        if (!key(r).equals(m.job))
            report.add("%s: key '%s' of job '%s'", where(r), key(r), m.job);
        m.faults.forEach(f -> report.add("%s: %s", where(r), f));
        Records.LossMetric before = lastMetric.put(m.job, m);
        long expected = before == null ? 1 : before.sequence + 1;
        if (m.sequence != expected)
            report.add("%s: job %s has sequence %d, expected %d", where(r), m.job, m.sequence, expected);
        if (before != null && m.step < before.step && !m.wentBack && !before.wentBack)
            report.add("%s: job %s goes back from step %d to %d", where(r), m.job, before.step, m.step);
        if (before != null && TERMINAL.contains(before.state))
            report.add("%s: job %s goes on behind %s", where(r), m.job, before.state);
    }

    // ---- models ----

    private final Map<String, Records.VersionEvent> versions = new TreeMap<>();
    private final Map<String, Records.VersionEvent> aliases = new TreeMap<>();

    int models() {
        try (Topics topics = new Topics(options.bootstrap(), options.topic("models"))) {
            topics.drain(this::takeEvent);
            topics.openTransactions().forEach(tp -> report.add("%s: a transaction is open", tp));
        }
        versions.forEach((name, e) -> judgeFile(name, e));
        aliases.forEach((name, e) -> judgeAlias(name, e));
        String model = options.text("model", null);
        long found = versions.values().stream().filter(e -> model == null || e.model.equals(model)).count();
        long wanted = options.number("versions", found), champion = options.number("champion", 0);
        if (found != wanted)
            report.add("%d versions, expected %d", found, wanted);
        Records.VersionEvent alias = aliases.get(model + "@champion");
        if (champion != 0 && (alias == null || alias.version != champion))
            report.add("%s@champion is version %s, expected %d", model, alias == null ? "none" : alias.version, champion);
        report.print();
        System.out.printf("checked %d versions, %d aliases, %d violations%n", versions.size(), aliases.size(), report.violations);
        return report.violations == 0 ? 0 : 1;
    }

    private void takeEvent(ConsumerRecord<byte[], byte[]> r) {
        if (r.value() == null)
            return;
        Records.VersionEvent e;
        try {
            e = new Records.VersionEvent(r.value());
        } catch (Avro.Malformed m) {
            report.add("%s: %s", where(r), m.getMessage());
            return;
        }
        boolean ofAlias = e.event.equals("PROMOTED") || e.event.equals("ROLLED_BACK");
        String name = e.model + "@" + (ofAlias ? e.alias : Long.toString(e.version));
        if (!key(r).equals(name))
            report.add("%s: %s has key '%s', expected '%s'", where(r), e.event, key(r), name);
        if (ofAlias) {
            Records.VersionEvent before = aliases.put(name, e);
            Long meant = before == null ? null : Long.valueOf(before.version);
            if (before != null && !meant.equals(e.previous))
                report.add("%s: previous_version %s, the alias meant %s", where(r), e.previous, meant);
        } else if (versions.put(name, e) != null && e.event.equals("CREATED"))
            report.add("%s: version %s is created twice", where(r), name);
    }

    private void judgeAlias(String name, Records.VersionEvent e) {
        Records.VersionEvent version = versions.get(e.model + "@" + e.version);
        if (version == null)
            report.add("%s means version %d, which was never created", name, e.version);
        else if (!version.sha256.equals(e.sha256) || !version.uri.equals(e.uri))
            report.add("%s does not repeat the artefact of version %d", name, e.version);
    }

    private void judgeFile(String name, Records.VersionEvent e) {
        if (!e.sha256.matches("[0-9a-f]{64}"))
            report.add("%s: sha256 '%s'", name, e.sha256);
        if (!e.uri.startsWith("file:///"))
            return;
        Path file = Path.of(URI.create(e.uri));
        try {
            byte[] bytes = Files.readAllBytes(file);
            String found = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
            if (!found.equals(e.sha256))
                report.add("%s: %s has SHA-256 %s, the event says %s", name, file, found, e.sha256);
            if (e.size >= 0 && e.size != bytes.length)
                report.add("%s: %s has %d bytes, the event says %d", name, file, bytes.length, e.size);
        } catch (Exception problem) {
            report.add("%s: %s", name, problem);
        }
    }
}
