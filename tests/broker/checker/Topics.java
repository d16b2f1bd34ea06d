// A read_committed reader of whole topics from their beginning, without a group: it looks, and changes nothing.

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

final class Topics implements AutoCloseable {
    private final KafkaConsumer<byte[], byte[]> committed, uncommitted;
    private final Map<String, Integer> partitions = new HashMap<>();
    private final List<TopicPartition> all = new ArrayList<>();

    Topics(String bootstrap, String... names) {
        committed = consumer(bootstrap, "read_committed");
        uncommitted = consumer(bootstrap, "read_uncommitted");
        Map<String, List<PartitionInfo>> there = committed.listTopics(Duration.ofSeconds(20));
        for (String name : names) {
            List<PartitionInfo> infos = there.get(name);
            if (infos == null)
                throw new Checker.Usage("topic " + name + " does not exist");
            partitions.put(name, infos.size());
            for (int p = 0; p < infos.size(); p++)
                all.add(new TopicPartition(name, p));
        }
        committed.assign(all);
        committed.seekToBeginning(all);
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, String isolation) {
        return new KafkaConsumer<>(
            Map.of("bootstrap.servers", bootstrap, "isolation.level", isolation, "enable.auto.commit", "false",
                "auto.offset.reset", "none", "fetch.max.wait.ms", 20, "max.partition.fetch.bytes", 20 << 20, "max.poll.records", 5000,
                "allow.auto.create.topics", "false"),
            new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    int partitions(String topic) {
        return partitions.get(topic);
    }

    long end(String topic, int partition) {
        TopicPartition tp = new TopicPartition(topic, partition);
        return committed.endOffsets(List.of(tp)).get(tp);
    }

    /** Reads on to the last stable offset as it is now. */
    void drain(Consumer<ConsumerRecord<byte[], byte[]>> take) {
        Map<TopicPartition, Long> ends = committed.endOffsets(all);
        while (all.stream().anyMatch(tp -> committed.position(tp) < ends.get(tp)))
            committed.poll(Duration.ofMillis(100)).forEach(take);
    }

    /** Partitions whose tail a read_committed reader may not see: a transaction is open there. */
    List<TopicPartition> openTransactions() {
        Map<TopicPartition, Long> stable = committed.endOffsets(all), high = uncommitted.endOffsets(all);
        return all.stream().filter(tp -> stable.get(tp) < high.get(tp)).toList();
    }

    @Override
    public void close() {
        committed.close();
        uncommitted.close();
    }
}
