// The record types of schemas/*.avsc as the checker sees them: what it compares is kept, the rest is walked over.
// Field order here is the order of the schemas' version 1. Read Avro.java first.

import java.util.ArrayList;
import java.util.List;

final class Records {
    static final String[] JOB_STATES = {"UNKNOWN", "STARTING", "DOWNLOADING", "TRAINING", "INTERRUPTED", "RESTARTING",
        "UPLOADING", "COMPLETED", "FAILED", "STOPPED"};
    static final String[] VERSION_EVENTS =
        {"UNKNOWN", "CREATED", "APPROVED", "REJECTED", "PROMOTED", "ROLLED_BACK", "RETIRED"};
    static final int ROW_OK = 1, ROW_BAD_INPUT = 2, ROW_EXPIRED = 3;
    private static final int[] DTYPE_SIZES = {0, 1, 1, 1, 2, 4, 8, 2, 2, 4, 8};

    /** Of a tensor: its rows; data's length must be the shape's product times the element's size. */
    private static long tensorRows(Avro in, boolean hasData) {
        in.readString();
        int dtype = in.readEnum(DTYPE_SIZES.length);
        List<Long> shape = new ArrayList<>();
        in.readItems(() -> shape.add(in.readLong()));
        long data = in.skipBytes();
        if (dtype == 0)
            throw new Avro.Malformed("bad_dtype", "dtype UNKNOWN");
        if (shape.isEmpty())
            throw new Avro.Malformed("bad_shape", "a shape without dimensions");
        long size = DTYPE_SIZES[dtype];
        try {
            for (long d : shape) {
                if (d < 0)
                    throw new Avro.Malformed("bad_shape", "dimension " + d);
                size = Math.multiplyExact(size, d);
            }
        } catch (ArithmeticException e) {
            throw new Avro.Malformed("bad_shape", "a shape beyond 2^63 bytes");
        }
        if (hasData && size != data)
            throw new Avro.Malformed("bad_shape", "shape " + shape + " wants " + size + " bytes, data has " + data);
        return shape.get(0);
    }

    static final class Inference {
        String id, model;
        long rows;
        boolean tensor, expires;
        int topK;
        final List<String> rowIds = new ArrayList<>();

        Inference(byte[] value) {
            Avro in = new Avro(value);
            List<Avro.Malformed> later = new ArrayList<>(); // broken Avro is told before a broken request
            id = in.readString();
            model = in.readString();
            long tensors = in.readItems(() -> {
                try {
                    rows = tensorRows(in, true);
                } catch (Avro.Malformed e) {
                    if (!e.reason.equals("bad_shape") && !e.reason.equals("bad_dtype"))
                        throw e;
                    later.add(e);
                }
            });
            tensor = tensors > 0;
            boolean images = in.readPresent();
            if (images)
                rows = in.readItems(in::skipBytes);
            boolean external = in.readPresent();
            if (external) {
                in.readString();
                in.readString();
                rows = tensorRows(in, false);
            }
            in.readItems(() -> rowIds.add(in.readString()));
            in.readLong();
            expires = in.readPresent();
            if (expires)
                in.readLong();
            topK = in.readInt();
            in.readBoolean();
            in.readBoolean();
            in.readItems(() -> {
                in.readString();
                in.readString();
            });
            in.end();
            if (id.isEmpty())
                throw new Avro.Malformed("bad_request", "an empty id");
            if ((tensor ? 1 : 0) + (images ? 1 : 0) + (external ? 1 : 0) != 1)
                throw new Avro.Malformed("bad_request", "not exactly one of tensors, images, external");
            if (topK < 0)
                throw new Avro.Malformed("bad_request", "top_k " + topK);
            if (!later.isEmpty())
                throw later.get(0);
            if (!rowIds.isEmpty() && rowIds.size() != rows)
                throw new Avro.Malformed("bad_request", rowIds.size() + " row_ids for " + rows + " rows");
        }
    }

    static final class Prediction {
        String id, model, sha256, variant, worker;
        long version, producedAt;
        Long supersedes;
        int[] labels, statuses, topK;
        String[] rowIds;
        final List<String> faults = new ArrayList<>(); // values that no prediction may have

        private final List<int[]> rows = new ArrayList<>();

        Prediction(byte[] value) {
            Avro in = new Avro(value);
            List<String> ids = new ArrayList<>();
            id = in.readString();
            model = in.readString();
            version = in.readLong();
            in.readItems(() -> readRow(in, ids));
            in.readItems(() -> tensorRows(in, true));
            if (in.readPresent())
                tensorRows(in, true);
            sha256 = in.readString();
            variant = in.readString();
            supersedes = in.readPresent() ? Long.valueOf(in.readLong()) : null;
            worker = in.readString();
            producedAt = in.readLong();
            if (in.readLong() < 0)
                faults.add("queue_us is negative");
            if (in.readLong() < 0)
                faults.add("compute_us is negative");
            in.end();
            statuses = rows.stream().mapToInt(r -> r[0]).toArray();
            labels = rows.stream().mapToInt(r -> r[1]).toArray();
            topK = rows.stream().mapToInt(r -> r[2]).toArray();
            rowIds = ids.toArray(new String[0]);
            rows.clear();
        }

        private void readRow(Avro in, List<String> ids) {
            int number = rows.size();
            ids.add(in.readPresent() ? in.readString() : null);
            int status = in.readEnum(4);
            int label = in.readInt();
            float score = in.readFloat();
            float[] best = {Float.POSITIVE_INFINITY};
            int[] last = {-1};
            long topK = in.readItems(() -> {
                int l = in.readInt();
                float s = in.readFloat();
                if (!(s <= best[0]) || !Float.isFinite(s) || s == best[0] && l <= last[0])
                    faults.add("row " + number + ": top_k is not finite and best first: " + s + " behind " + best[0]);
                best[0] = s;
                last[0] = l;
            });
            boolean error = in.readPresent();
            if (error)
                in.readString();
            if (!Float.isFinite(score))
                faults.add("row " + number + ": score " + score);
            if (status == 0)
                faults.add("row " + number + ": status UNKNOWN");
            if (error && status == ROW_OK)
                faults.add("row " + number + ": status OK with an error");
            rows.add(new int[] {status, label, (int) topK});
        }
    }

    static final class LossMetric {
        String job, state;
        long sequence, step;
        boolean wentBack; // health.2: the step returns
        final List<String> faults = new ArrayList<>();

        LossMetric(byte[] value) {
            Avro in = new Avro(value);
            job = in.readString();
            in.readString();
            sequence = in.readLong();
            state = JOB_STATES[in.readEnum(JOB_STATES.length)];
            in.readInt();
            step = in.readLong();
            in.readLong();
            for (String name : new String[] {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate",
                     "samples_per_second"})
                if (in.readPresent())
                    finite(name, in.readDouble());
            in.readItems(() -> {
                String name = in.readString();
                double number = in.readDouble();
                finite(name, number);
                if (name.startsWith("health.") && number == 2)
                    wentBack = true;
            });
            if (in.readPresent())
                in.readString();
            in.readString();
            in.readLong();
            in.end();
        }

        private void finite(String name, double number) {
            if (!Double.isFinite(number))
                faults.add(name + " is " + number);
        }
    }

    static final class Checkpoint {
        String job, state;
        long step, sequence, version;

        Checkpoint(byte[] value) {
            Avro in = new Avro(value);
            job = in.readString();
            in.readString();
            state = JOB_STATES[in.readEnum(JOB_STATES.length)];
            in.readInt();
            step = in.readLong();
            in.readLong();
            sequence = in.readLong();
            in.readString();
            in.readString();
            version = in.readLong();
            if (in.readPresent())
                in.readString();
            in.readString();
            in.readLong();
            in.end();
        }
    }

    static final class VersionEvent {
        String event, model, alias, uri, sha256;
        long version, size;
        Long previous;

        VersionEvent(byte[] value) {
            Avro in = new Avro(value);
            in.readString();
            event = VERSION_EVENTS[in.readEnum(VERSION_EVENTS.length)];
            model = in.readString();
            version = in.readLong();
            alias = in.readPresent() ? in.readString() : null;
            in.readDouble();
            previous = in.readPresent() ? Long.valueOf(in.readLong()) : null;
            uri = in.readString();
            in.readString();
            sha256 = in.readString();
            size = in.readLong();
            if (in.readPresent()) {
                in.readItems(in::readLong);
                in.readItems(in::readFloat);
                in.readItems(in::readFloat);
            }
            in.readItems(in::readString);
            if (in.readPresent())
                in.readString();
            if (in.readPresent())
                in.readLong();
            in.readItems(() -> {
                in.readString();
                in.readInt();
                in.readLong();
                in.readLong();
            });
            in.readString();
            in.readItems(() -> pair(in));
            in.readItems(() -> {
                in.readString();
                in.readDouble();
            });
            in.readString();
            in.readString();
            in.readItems(() -> pair(in));
            in.readLong();
            in.end();
        }

        private static void pair(Avro in) {
            in.readString();
            in.readString();
        }
    }
}
