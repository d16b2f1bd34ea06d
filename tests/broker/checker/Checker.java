// An independent witness of what millrace promises: it shares no code with the worker, reads with Kafka's own
// client, read_committed, and changes nothing. Read README.md beside the folder for modes and options, then Answers.java.

import java.util.HashMap;
import java.util.Map;
import java.util.Set;

public final class Checker {
    static final class Usage extends RuntimeException {
        Usage(String text) {
            super(text);
        }
    }

    private static final Map<String, Set<String>> OPTIONS = Map.of(
        "answers", Set.of("group", "wait", "inputs", "poison", "poison-file", "labels", "timeout"),
        "metrics", Set.of("group", "job", "state", "timeout"),
        "models", Set.of("group", "model", "versions", "champion", "timeout"),
        "produce", Set.of("group", "topic", "count", "rows", "model", "shape", "dtype", "top-k", "seed", "rate",
            "id-prefix", "poison-every", "poison-file", "crash-every", "hurry-file", "timeout"),
        "topic", Set.of("group", "topic", "partitions", "timeout"),
        "hang", Set.of("group", "transactional-id", "timeout"),
        "prove", Set.of("group", "timeout"));
    private static final Set<String> FLAGS = Set.of("json", "no-offsets");

    static final class Options {
        private final Map<String, String> values = new HashMap<>();

        Options(String[] words) {
            Set<String> known = OPTIONS.get(words[0]);
            if (known == null)
                throw new Usage("unknown mode '" + words[0] + "'");
            for (int i = 1; i < words.length; i++) {
                String name = words[i].startsWith("--") ? words[i].substring(2) : "";
                if (FLAGS.contains(name))
                    values.put(name, "");
                else if (!known.contains(name) && !name.equals("bootstrap") && !name.equals("prefix"))
                    throw new Usage("unknown option '" + words[i] + "' of " + words[0]);
                else if (++i == words.length)
                    throw new Usage("--" + name + " takes a value");
                else
                    values.put(name, words[i]);
            }
        }

        String text(String name, String otherwise) {
            return values.getOrDefault(name, otherwise);
        }

        long number(String name, long otherwise) {
            try {
                return values.containsKey(name) ? Long.parseLong(values.get(name)) : otherwise;
            } catch (NumberFormatException e) {
                throw new Usage("--" + name + " takes a number, not '" + values.get(name) + "'");
            }
        }

        boolean flag(String name) {
            return values.containsKey(name);
        }

        String bootstrap() {
            if (!values.containsKey("bootstrap"))
                throw new Usage("--bootstrap is needed");
            return values.get("bootstrap");
        }

        String topic(String shortName) {
            return text("prefix", "millrace.") + shortName;
        }
    }

    private static int run(String[] words) throws Exception {
        if (words.length == 0)
            throw new Usage("a mode is needed: " + String.join(", ", OPTIONS.keySet()));
        Options options = new Options(words);
        return switch (words[0]) {
            case "answers" -> new Answers(options).run();
            case "metrics" -> new Histories(options).metrics();
            case "models" -> new Histories(options).models();
            case "prove" -> new Mimic(options).prove();
            case "produce" -> new Foreign(options).produce();
            case "hang" -> new Hanging(options).leave();
            default -> new Foreign(options).topic();
        };
    }

    public static void main(String[] words) throws Exception {
        int code;
        try {
            code = run(words);
        } catch (Usage e) {
            System.err.println("check: " + e.getMessage());
            code = 2;
        }
        System.out.flush();
        System.exit(code);
    }
}
