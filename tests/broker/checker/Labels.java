// Expected labels, one a row of the file that was sent: text (one number a line), IDX (also .gz), or CIFAR-10 .bin.

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.GZIPInputStream;

final class Labels {
    static int[] read(Path file) throws IOException {
        byte[] bytes = Files.readAllBytes(file);
        String name = file.toString();
        if (name.endsWith(".gz")) {
            try (InputStream in = new GZIPInputStream(Files.newInputStream(file))) {
                bytes = in.readAllBytes();
            }
        }
        if (bytes.length >= 8 && ByteBuffer.wrap(bytes).getInt() == 0x801)
            return strided(bytes, 8, 1);
        if (name.endsWith(".bin"))
            return strided(bytes, 0, 1 + 3 * 32 * 32);
        return Files.readAllLines(file).stream().map(String::trim).filter(s -> !s.isEmpty()).mapToInt(Integer::parseInt).toArray();
    }

    private static int[] strided(byte[] bytes, int from, int stride) {
        int[] labels = new int[(bytes.length - from) / stride];
        for (int i = 0; i < labels.length; i++)
            labels[i] = bytes[from + i * stride] & 0xff;
        return labels;
    }
}
