// Avro binary, read and written by hand: the checker shares no code with the worker, nor with an Avro library.
// Primitives only; Records.java puts them together. Everything is checked against what remains.

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

final class Avro {
    /** What is wrong with a record; `reason` is the dead-letter reason that the contract gives it. */
    static final class Malformed extends RuntimeException {
        final String reason;

        Malformed(String reason, String text) {
            super(text, null, false, false);
            this.reason = reason;
        }
    }

    interface Item {
        void read();
    }

    private final byte[] bytes;
    private int at;

    Avro(byte[] bytes) {
        this.bytes = bytes;
    }

    private Malformed bad(String text) {
        return new Malformed("bad_avro", text + " at byte " + at);
    }

    private int need(long n) {
        if (n < 0)
            throw bad("negative length " + n);
        if (n > bytes.length - at)
            throw new Malformed("truncated", n + " bytes wanted at byte " + at + ", " + (bytes.length - at) + " left");
        int start = at;
        at += (int) n;
        return start;
    }

    long readLong() {
        long value = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            byte b = bytes[need(1)];
            if (shift == 63 && (b & 0x7e) != 0)
                throw bad("a varint beyond 64 bits");
            value |= (long) (b & 0x7f) << shift;
            if (b >= 0)
                return (value >>> 1) ^ -(value & 1);
        }
        throw bad("a varint longer than 10 bytes");
    }

    int readInt() {
        long value = readLong();
        if (value != (int) value)
            throw bad("an int beyond 32 bits");
        return (int) value;
    }

    int readEnum(int symbols) {
        long value = readLong();
        if (value < 0 || value >= symbols)
            throw bad("enum index " + value + " of " + symbols);
        return (int) value;
    }

    /** True: the union holds its second branch (ours are all [null, X]). */
    boolean readPresent() {
        return readEnum(2) == 1;
    }

    boolean readBoolean() {
        byte b = bytes[need(1)];
        if (b != 0 && b != 1)
            throw bad("a boolean of " + b);
        return b == 1;
    }

    float readFloat() {
        return ByteBuffer.wrap(bytes, need(4), 4).order(ByteOrder.LITTLE_ENDIAN).getFloat();
    }

    double readDouble() {
        return ByteBuffer.wrap(bytes, need(8), 8).order(ByteOrder.LITTLE_ENDIAN).getDouble();
    }

    String readString() {
        long size = readLong();
        int start = need(size);
        try {
            return StandardCharsets.UTF_8.newDecoder().onMalformedInput(CodingErrorAction.REPORT)
                .decode(ByteBuffer.wrap(bytes, start, (int) size)).toString();
        } catch (CharacterCodingException e) {
            throw bad("a string that is not UTF-8");
        }
    }

    /** Passes over bytes and says how many. */
    long skipBytes() {
        long size = readLong();
        need(size);
        return size;
    }

    /** Arrays, and maps whose item reads its key. */
    long readItems(Item item) {
        long total = 0;
        for (;;) {
            long count = readLong();
            if (count == 0)
                return total;
            if (count < 0) {
                count = -count;
                long size = readLong();
                if (count < 0 || size < 0)
                    throw bad("a block of a negative size");
            }
            if (count > bytes.length - at)
                throw new Malformed("truncated", "a block of " + count + " items in " + (bytes.length - at) + " bytes");
            total += count;
            for (; count > 0; count--)
                item.read();
        }
    }

    void end() {
        if (at != bytes.length)
            throw new Malformed("trailing_bytes", (bytes.length - at) + " bytes behind the record's end");
    }

    /** The other direction, for the foreign producer. */
    static final class Writer {
        private final ByteArrayOutputStream out = new ByteArrayOutputStream();

        Writer putLong(long value) {
            long n = (value << 1) ^ (value >> 63);
            for (; (n & ~0x7fL) != 0; n >>>= 7)
                out.write((int) (n & 0x7f | 0x80));
            out.write((int) n);
            return this;
        }

        Writer putFloat(float value) {
            out.writeBytes(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putFloat(value).array());
            return this;
        }

        Writer putByte(int value) {
            out.write(value);
            return this;
        }

        Writer putBytes(byte[] value) {
            putLong(value.length);
            out.writeBytes(value);
            return this;
        }

        Writer putString(String value) {
            return putBytes(value.getBytes(StandardCharsets.UTF_8));
        }

        byte[] bytes() {
            return out.toByteArray();
        }
    }
}
