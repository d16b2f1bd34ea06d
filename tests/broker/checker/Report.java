// Violations: the first twenty in words, all of them counted.

import java.util.ArrayList;
import java.util.List;

final class Report {
    private static final int SHOWN = 20;
    private final List<String> first = new ArrayList<>();
    long violations;

    void add(String format, Object... values) {
        violations++;
        if (first.size() < SHOWN)
            first.add(String.format(format, values));
    }

    void print() {
        first.forEach(line -> System.out.println("violation: " + line));
        if (violations > first.size())
            System.out.println("violation: and " + (violations - first.size()) + " more");
    }
}
