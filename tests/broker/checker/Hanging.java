// What a broker leaves behind that lost the marker of a transaction's end: records and offsets of a producer that are still
// open in their partitions, while the coordinator knows of no transaction. Written by hand with the producer's own id, for which
// the broker has to stop verifying transactions for a moment. The next commit of the same transactional.id takes along what
// is left here.

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.message.FindCoordinatorRequestData;
import org.apache.kafka.common.message.InitProducerIdRequestData;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.requests.AbstractRequest;
import org.apache.kafka.common.requests.AbstractResponse;
import org.apache.kafka.common.requests.FindCoordinatorRequest;
import org.apache.kafka.common.requests.FindCoordinatorResponse;
import org.apache.kafka.common.requests.InitProducerIdRequest;
import org.apache.kafka.common.requests.InitProducerIdResponse;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.requests.TxnOffsetCommitRequest;

final class Hanging {
    private static final short PRODUCE = 11, OFFSETS = 3, INIT = 4, FIND = 4; // before transactions began with the first record
    private final Checker.Options options;
    private final Socket broker;
    private int correlation;

    Hanging(Checker.Options options) throws Exception {
        this.options = options;
        String[] address = options.bootstrap().split(":");
        broker = new Socket(address[0], Integer.parseInt(address[1]));
    }

    private AbstractResponse ask(AbstractRequest request) throws Exception {
        RequestHeader header = new RequestHeader(request.apiKey(), request.version(), "hanging", ++correlation);
        ByteBuffer bytes = request.serializeWithHeader(header);
        DataOutputStream out = new DataOutputStream(broker.getOutputStream());
        out.writeInt(bytes.remaining());
        out.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
        out.flush();
        DataInputStream in = new DataInputStream(broker.getInputStream());
        byte[] answer = new byte[in.readInt()];
        in.readFully(answer);
        return AbstractResponse.parseResponse(ByteBuffer.wrap(answer), header);
    }

    private void expect(String what, AbstractResponse response) {
        for (Errors error : response.errorCounts().keySet())
            if (error != Errors.NONE)
                throw new IllegalStateException(what + ": " + error);
    }

    private InitProducerIdResponse producer(String id) throws Exception {
        for (;;) {
            InitProducerIdResponse response = (InitProducerIdResponse) ask(new InitProducerIdRequest.Builder(
                new InitProducerIdRequestData().setTransactionalId(id).setTransactionTimeoutMs(10000)).build(INIT));
            if (response.error() == Errors.NONE)
                return response;
            if (!List.of(Errors.COORDINATOR_NOT_AVAILABLE, Errors.COORDINATOR_LOAD_IN_PROGRESS, Errors.NOT_COORDINATOR,
                    Errors.CONCURRENT_TRANSACTIONS).contains(response.error()))
                throw new IllegalStateException("InitProducerId: " + response.error());
            Thread.sleep(50);
        }
    }

    // The first question for a coordinator makes the topic that it needs.
    private void coordinator(FindCoordinatorRequest.CoordinatorType type, String key) throws Exception {
        FindCoordinatorRequestData data =
            new FindCoordinatorRequestData().setKeyType(type.id()).setCoordinatorKeys(List.of(key));
        while (((FindCoordinatorResponse) ask(new FindCoordinatorRequest.Builder(data).build(FIND))).errorCounts()
                .containsKey(Errors.COORDINATOR_NOT_AVAILABLE))
            Thread.sleep(50);
    }

    private void verify(boolean yes) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", options.bootstrap()))) {
            admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.BROKER, ""), List.of(
                new AlterConfigOp(new ConfigEntry("transaction.partition.verification.enable", String.valueOf(yes)),
                    AlterConfigOp.OpType.SET)))).all().get();
        }
    }

    int leave() throws Exception {
        String id = options.text("transactional-id", ""), topic = options.topic("predictions"),
            group = options.text("group", "") + ".infer";
        coordinator(FindCoordinatorRequest.CoordinatorType.GROUP, group);
        coordinator(FindCoordinatorRequest.CoordinatorType.TRANSACTION, id);
        InitProducerIdResponse p = producer(id);
        long pid = p.data().producerId();
        short epoch = p.data().producerEpoch();
        verify(false);
        MemoryRecords records = MemoryRecords.withTransactionalRecords(Compression.NONE, pid, epoch, 0,
            new SimpleRecord("left open".getBytes(), "by a broker".getBytes()));
        ProduceRequestData.TopicProduceDataCollection data = new ProduceRequestData.TopicProduceDataCollection();
        data.add(new ProduceRequestData.TopicProduceData().setName(topic).setPartitionData(
            List.of(new ProduceRequestData.PartitionProduceData().setIndex(0).setRecords(records))));
        ProduceRequestData request = new ProduceRequestData().setTransactionalId(id).setAcks((short) -1)
            .setTimeoutMs(10000).setTopicData(data);
        AbstractResponse produced; // refused until the broker has stopped verifying
        while ((produced = ask(ProduceRequest.builder(request, true).build(PRODUCE))).errorCounts()
                .containsKey(Errors.TRANSACTION_ABORTABLE))
            Thread.sleep(50);
        expect("Produce", produced);
        expect("TxnOffsetCommit", ask(new TxnOffsetCommitRequest.Builder(id, group, pid, epoch,
            Map.of(new TopicPartition(options.topic("inference"), 0),
                new TxnOffsetCommitRequest.CommittedOffset(1, "", Optional.empty())), false).build(OFFSETS)));
        verify(true);
        System.out.println("left open: producer " + pid + ", epoch " + epoch);
        return 0;
    }
}
