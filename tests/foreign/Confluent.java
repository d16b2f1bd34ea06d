// A producer and a reader with kafka-clients and Apache Avro; run as a single source file. usage: README.md

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

final class Confluent {
    private static final String SCHEMA = """
        {"type": "record", "name": "ScoreMe", "namespace": "com.example.java", "fields": [
         {"name": "trace", "type": {"type": "fixed", "name": "Trace", "size": 16}},
         {"name": "id", "type": "string"}, {"name": "model", "type": "string"},
         {"name": "origin", "type": {"type": "record", "name": "Origin", "fields": [
           {"name": "host", "type": ["null", "string"]}, {"name": "tags", "type": {"type": "map", "values": "double"}}]}},
         {"name": "tensors", "type": {"type": "array", "items": {"type": "record", "name": "Rows", "fields": [
           {"name": "shape", "type": {"type": "array", "items": "long"}}, {"name": "data", "type": "bytes"}]}}},
         {"name": "backup", "type": ["null", "Origin"]}]}""";
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    private static Map<?, ?> ask(String url, String body) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(20));
        if (body != null)
            request.header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body));
        HttpResponse<String> answer = HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200)
            throw new IllegalStateException(url + ": " + answer.statusCode() + " " + answer.body());
        return JSON.readValue(answer.body(), Map.class);
    }

    private static byte[] encode(Schema schema, int number, String id, String model) throws Exception {
        GenericRecord origin = new GenericData.Record(schema.getField("origin").schema());
        origin.put("host", "h");
        origin.put("tags", Map.of("a", 1.5));
        Schema rows = schema.getField("tensors").schema().getElementType();
        GenericRecord tensor = new GenericData.Record(rows);
        ByteBuffer data = ByteBuffer.allocate(2 * 3072 * 4).order(ByteOrder.LITTLE_ENDIAN);
        data.putFloat(0, 0.5f).putFloat(3072 * 4, 0.5f);
        tensor.put("shape", List.of(2L, 3L, 32L, 32L));
        tensor.put("data", data);
        GenericRecord value = new GenericData.Record(schema);
        value.put("trace", new GenericData.Fixed(schema.getField("trace").schema(), new byte[16]));
        value.put("id", id);
        value.put("model", model);
        value.put("origin", origin);
        value.put("tensors", List.of(tensor));
        value.put("backup", origin);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(0);
        out.writeBytes(ByteBuffer.allocate(4).putInt(number).array());
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<GenericRecord>(schema).write(value, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    private static void produce(String broker, String registry, String topic, String model, int count) throws Exception {
        Schema schema = new Schema.Parser().parse(SCHEMA);
        int number = (Integer) ask(registry + "/subjects/" + topic + "-java/versions", JSON.writeValueAsString(Map.of("schema", SCHEMA))).get("id");
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Map.of("bootstrap.servers", broker, "acks", "all"),
                 new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int i = 0; i < count; i++)
                producer.send(new ProducerRecord<>(topic, ("java-" + i).getBytes(), encode(schema, number, "java-" + i, model))).get();
        }
    }

    private static void read(String broker, String registry, String topic, int count) throws Exception {
        Map<Integer, Schema> schemas = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", broker, "group.id",
                 "java-" + ProcessHandle.current().pid(), "auto.offset.reset", "earliest"),
                 new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            for (int left = count; left > 0;)
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    ByteBuffer value = ByteBuffer.wrap(record.value());
                    if (value.get() != 0)
                        throw new IllegalStateException("no frame");
                    int number = value.getInt();
                    if (!schemas.containsKey(number))
                        schemas.put(number, new Schema.Parser().parse((String) ask(registry + "/schemas/ids/" + number, null).get("schema")));
                    GenericRecord v = new GenericDatumReader<GenericRecord>(schemas.get(number))
                        .read(null, DecoderFactory.get().binaryDecoder(record.value(), 5, record.value().length - 5, null));
                    GenericRecord t = (GenericRecord) ((List<?>) v.get("tensors")).get(0);
                    if (left-- > 0)
                        System.out.println(JSON.writeValueAsString(Map.of("id", v.get("id").toString(), "model", v.get("model").toString(),
                            "dtype", t.get("dtype").toString(), "shape", List.copyOf((List<?>) t.get("shape")), "bytes",
                            ((ByteBuffer) t.get("data")).remaining())));
                }
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("produce"))
            produce(args[1], args[2], args[3], args[4], Integer.parseInt(args[5]));
        else
            read(args[1], args[2], args[3], Integer.parseInt(args[4]));
    }
}
