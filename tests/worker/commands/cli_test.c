/* The binary from outside, without a broker: for a table of command lines the exit status and a word of what is
 * said. Wrong flags and wrong files of every command are here; a command's own tests are its own. */
#include "tests/lib/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 16 };

struct line {
    const char *args; /* separated by spaces; @ at the start of a word is the test's folder */
    int code;
    const char *err, *out; /* a part of what is said; NULL: not looked at; "": nothing at all */
};

/* Nobody listens on port 1 of loopback. */
#define NOBODY "-X bootstrap.servers=127.0.0.1:1 --timeout 0.3"

static const struct line lines[] = {
    /* no command, unknown ones, options in front of it */
    {"", 2, "usage: millrace COMMAND", ""},
    {"chekc", 2, "did you mean 'check'?", ""},
    {"zzz", 2, "millrace help", ""},
    {"-c x check", 2, "the command comes first", ""},
    {"--version", 0, "", "millrace "},
    {"--help", 0, "", "usage: millrace COMMAND"},
    {"-h", 0, "", "usage: millrace COMMAND"},

    {"help", 0, "", "topics"},
    {"help --json", 0, "", "\"command\":\"send\""},
    {"help send", 0, "", "--rows-per-record N"},
    {"help send --json", 0, "", "\"key\":\"rate\""},
    {"help config", 0, "", "commit.max_delay_ms"},
    {"help config --json", 0, "", "\"key\":\"batch.max_rows\""},
    {"help job", 0, "", "class_weights"},
    {"help job --json", 0, "", "\"key\":\"lr_schedule\""},
    {"help config --yaml", 0, "", "max_delay_ms: 20"},
    {"help --completion bash", 0, "", "complete -o filenames -F _millrace millrace"},
    {"help --man", 0, "", ".TH MILLRACE 1"},
    {"help snd", 2, "did you mean 'send'?", ""},
    {"help --yaml", 2, "help config --yaml", ""},
    {"help a b", 2, "unexpected 'b'", ""},
    {"send --help", 0, "", "usage: millrace send FILE..."},

    {"train --preview a.png --local b.yaml", 2, "--preview goes with --data", ""},
    {"train --base a.onnx b.yaml", 2, "--base belong to --local", ""},
    {"help job", 0, "", "augment_rotation"},
    {"help job", 0, "", "health_overfitting"},

    /* configuration */
    {"check --print -c @/good.yaml", 0, "", "max_rows: 7"},
    {"check --print -c @/good.yaml -X batch.max_rows=8", 0, "", "max_rows: 8"},
    {"check --print -c @/none.yaml", 3, "none.yaml", ""},
    {"check --print -c @/key.yaml", 3, "key.yaml:2:3: unknown key batch.max_row, nearest is batch.max_rows",
     ""},
    {"check --print -c @/owned.yaml", 3, "owned.yaml:1:9: kafka.group.id cannot be set", ""},
    {"check --print -c @/broken.yaml", 3, "broken.yaml:", ""},
    {"check --print -c", 2, "-c wants a value", ""},
    {"check --print -X nonsense", 2, "expected key=value", ""},
    {"check --print -X worker.rolse=infer", 3, "nearest is worker.roles", ""},
    {"check --pritn", 2, "did you mean --print?", ""},
    {"check more", 2, "unexpected 'more'", ""},
    {"check -c @/good.yaml -X models.store=file://@/store -X worker.state_dir=@ " NOBODY, 4, "not ok",
     "not ok  broker"},
    {"check -c @/good.yaml -X models.store=file:///proc/none -X worker.state_dir=/proc/none " NOBODY, 4,
     "3 of", "not ok  models.store"},
    {"check --json -c @/good.yaml " NOBODY, 4, "not ok", "{\"check\":\"broker\",\"ok\":false"},
    {"check -c @/good.yaml -X no.such.key=1 " NOBODY, 3, "not ok", "no.such.key"},

    /* topics */
    {"topics " NOBODY, 4, "no broker answered at 127.0.0.1:1", ""},
    {"topics create " NOBODY, 4, "no broker answered at 127.0.0.1:1", ""},
    {"topics kreate", 2, "did you mean 'create'?", ""},
    {"topics create --partitions 0", 2, "--partitions", ""},
    {"topics create --replication 0", 2, "--replication", ""},
    {"topics create --timeout x", 2, "--timeout", ""},

    /* tail */
    {"tail", 2, "expected TOPIC", ""},
    {"tail a b", 2, "unexpected 'b'", ""},
    {"tail predictions -o sideways", 2, "beginning, end or an offset", ""},
    {"tail predictions -n -1", 2, "-n", ""},
    {"tail predictions -n", 2, "-n wants a value", ""},
    {"tail predictions " NOBODY, 4, "127.0.0.1:1", ""},

    /* send */
    {"send", 2, "expected FILE...", ""},
    {"send @/rows.npy", 2, "--model is needed", ""},
    {"send @/rows.npy --model a@@b", 2, "--model", ""},
    {"send @/rows.npy --model m --samples", 2, "--samples", ""},
    {"send @/rows.npy --model m --rate -5", 2, "--rate", ""},
    {"send @/rows.npy --model m --encoding u9", 2, "--encoding", ""},
    {"send @/rows.npy --model m --rows-per-record 0", 2, "--rows-per-record", ""},
    {"send @/none.npy --model m", 3, "none.npy", ""},
    {"send @/text.npy --model m", 3, "text.npy", ""},
    {"send @/text.what --model m", 3, "text.what", ""},
    {"send @/rows.npy --model m " NOBODY, 4, "127.0.0.1:1", ""},

    /* worker */
    {"worker -c @/none.yaml", 3, "none.yaml", ""},
    {"worker now", 2, "unexpected 'now'", ""},
    {"worker -c @/good.yaml -X worker.state_dir=@ -X models.store=file:///proc/none " NOBODY, 3,
     "models.store", ""},
    {"worker -c @/good.yaml -X worker.state_dir=/proc/none " NOBODY, 3, "/proc/none", ""},

    /* train, jobs, models */
    {"train", 2, "expected JOB.yaml", ""},
    {"train @/none.yaml", 3, "none.yaml", ""},
    {"train @/key.yaml", 3, "key.yaml:2:3", ""},
    {"train @/job.yaml " NOBODY, 4, "127.0.0.1:1", ""},
    {"train @/job.yaml --local", 2, "--data", ""},
    {"train @/job.yaml --local --data @/none.npz --output @/o.onnx", 3, "none.npz", ""},
    {"train @/job.yaml --dataset @/none.json " NOBODY, 3, "none.json", ""},
    {"jobs " NOBODY, 4, "127.0.0.1:1", ""},
    {"jobs shwo x", 2, "did you mean 'show'?", ""},
    {"jobs show", 2, "id is expected", ""},
    {"jobs stop x " NOBODY, 4, "127.0.0.1:1", ""},
    {"models " NOBODY, 4, "127.0.0.1:1", ""},
    {"models promot m", 2, "did you mean 'promote'?", ""},
    {"models promote", 2, "NAME", ""},
    {"models aprove m@1", 2, "did you mean 'approve'?", ""},
    {"models retire m", 2, "NAME@VERSION", ""},
    {"models reject m@1 " NOBODY, 4, "127.0.0.1:1", ""},
    {"rescore m@1 --from 0 " NOBODY, 4, "127.0.0.1:1", ""},
    {"rescore m@1 --from 5 --to 2", 2, "--from 5 is behind --to 2", ""},
    {"rescore m --from 1", 2, "MODEL@VERSION", ""},
    {"rescore m@1", 2, "--served", ""},
    {"rescore m@1 --from x", 2, "\"x\"", ""},
    {"replay", 2, "--dry-run lists them", ""},
    {"replay --all " NOBODY, 4, "127.0.0.1:1", ""},
    {"replay --reason bad_luck", 2, "\"bad_luck\"", ""},
    {"replay --older-than soon", 2, "\"soon\"", ""},
    {"replay --newer-than 3w", 2, "\"3w\"", ""},
    {"rescore m@1 --served 1", 2, "--served 1", ""},
    {"models export m " NOBODY, 2, "--output FILE is needed", ""},
    {"models export m --output @/o --format pickle " NOBODY, 2, "onnx|safetensors", ""},
    {"models export m --output @/o " NOBODY, 4, "127.0.0.1:1", ""},
    {"check -c @/good.yaml -X models.store=s3://Bad_Name -X worker.state_dir=@ " NOBODY, 4, "not ok",
     "expected s3://BUCKET/KEY"},
    {"models promote a@@b", 2, "a@@b", ""},
    {"models import @/text.onnx " NOBODY, 2, "--model", ""},
    {"models import @/none.onnx --model m " NOBODY, 3, "none.onnx", ""},
    {"models import @/text.onnx --model m " NOBODY, 3, "text.onnx", ""},

    /* score, make-data */
    {"score @/net.yaml --input @/rows.npy", 2, "--output is needed", ""},
    {"score @/net.yaml --input @/none.npy --output @/o.jsonl", 3, "none.npy", ""},
    {"score @/net.yaml --input @/rows.npy --output @/o.what", 2, "o.what", ""},
    {"score @/net.yaml --input @/rows.npy --output @/rows.npy", 2, "is the input file", ""},
    {"score @/none.onnx --input @/rows.npy --output @/o.jsonl", 3, "none.onnx", ""},
    {"score m@1 --input @/rows.npy --output @/o.jsonl " NOBODY, 4, "127.0.0.1:1", ""},
    {"make-data", 2, "expected KIND", ""},
    {"make-data cats --output @/x.npz --rows 1", 2, "cats", ""},
    {"make-data digits --output @/x.npz", 2, "--rows is needed", ""},
    {"make-data digits --output @/x.npz --rows -1", 2, "--rows", ""},
    {"make-data digits --output @/x.npz --rows 1 --shape 3x3x3", 2, "3x3x3", ""},
    {"make-data digits --output /proc/none/x.npz --rows 1", 3, "/proc/none", ""},

    /* inspect */
    {"inspect", 2, "expected FILE", ""},
    {"inspect @/rows.npy", 0, "", "3 rows of UINT8 [4], 12 B"},
    {"inspect @/rows.npy --json", 0, "", "\"rows\":3"},
    {"inspect @/rows.npy --plan", 2, "--plan is for networks", ""},
    {"inspect @/none.onnx", 3, "none.onnx", ""},
    {"inspect @/text.onnx", 3, "text.onnx", ""},
    {"inspect @/text.safetensors", 3, "text.safetensors", ""},
    {"inspect @/text.avro", 3, "text.avro", ""},
    {"inspect @/net.yaml", 0, "", "parameters   15"},
    {"inspect @/net.yaml --json", 0, "", "\"parameters\":15"},
    {"inspect @/net.yaml --plan --batch 3", 0, "", "plan for 3 rows"},
    {"inspect @/net.yaml --plan", 0, "", "GFLOP a row"},
    {"inspect @/key.yaml", 3, "key.yaml:1:", ""},
    {"inspect @/net.yaml -c x", 2, "reads no configuration", ""},

    /* bench */
    {"bench", 2, "expected MODEL", ""},
    {"bench @/none.onnx", 3, "none.onnx", ""},
    {"bench @/text.onnx", 3, "text.onnx", ""},
    {"bench @/net.yaml --batch 0", 2, "--batch", ""},
    {"bench @/net.yaml --dtype i4", 2, "--dtype", ""},
    {"bench @/net.yaml --backend abacus", 3, "abacus", ""},
    {"bench digits@1 " NOBODY, 4, "127.0.0.1:1", ""},
    {"bench @/net.yaml --backend ref --batch 4 --seconds 0.1 --json", 0, "", "\"images_per_second\":"},
    {"bench @/net.yaml --backend ref --batch 4 --seconds 0.1 --train --dtype f32", 0, "", "training steps"},
};

/* A .npy of 3 rows of 4 bytes. */
static void write_npy(const char *path)
{
    static const char head[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), }";
    char text[128];
    memset(text, ' ', sizeof text);
    memcpy(text, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(text + 10, head, strlen(head));
    text[127] = '\n';
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, sizeof text, f), sizeof text);
    assert_int_equal(fwrite("abcdefghijkl", 1, 12, f), 12);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    (void)state;
    test_write(test_path("good.yaml"), "batch: {max_rows: 7}\n");
    test_write(test_path("key.yaml"), "batch:\n  max_row: 7\n");
    test_write(test_path("owned.yaml"), "kafka: {group.id: mine}\n");
    test_write(test_path("broken.yaml"), "a: [b\n");
    test_write(test_path("net.yaml"),
               "network: tiny\ninput: [4]\nlabels: 3\nlayers:\n  - dense: {units: 3}\n");
    test_write(test_path("job.yaml"), "model: m\nnetwork: lenet\ndataset: [{topic: millrace.samples, "
                                      "start_offset: earliest, end_offset: latest}]\n");
    static const char *const endings[] = {"npy", "what", "onnx", "safetensors", "avro"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char name[32];
        snprintf(name, sizeof name, "text.%s", endings[i]);
        test_write(test_path(name), "this is no such file, whatever its name says\n");
    }
    write_npy(test_path("rows.npy"));
    return 0;
}

/* "@" becomes the test's folder, wherever in a word it stands alone before a slash or an end. */
static void expand(const char *args, char *out, size_t size)
{
    size_t used = 0;
    for (const char *c = args; *c && used + 300 < size; c++) {
        if (*c == '@' && (c[1] == '/' || c[1] == ' ' || !c[1]))
            used += (size_t)snprintf(out + used, size - used, "%s", test_dir());
        else
            out[used++] = *c;
    }
    out[used] = 0;
}

static int said(const char *text, const char *part)
{
    return !part || (*part ? strstr(text, part) != NULL : !*text);
}

static void run_line(const struct line *l, struct result *r)
{
    char text[2048], *save = NULL;
    const char *argv[WORDS + 2] = {test_millrace()};
    int n = 1;
    expand(l->args, text, sizeof text);
    for (char *w = strtok_r(text, " ", &save); w && n <= WORDS; w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    result_run(r, 20000, NULL, argv);
}

static void test_lines(void **state)
{
    (void)state;
    int bad = 0;
    unsetenv("KAFKA_BOOTSTRAP");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct result r = {0};
        run_line(&lines[i], &r);
        if (r.code != lines[i].code || !said(r.err, lines[i].err) || !said(r.out, lines[i].out)) {
            print_error("millrace %s\n  wanted %d, err '%s', out '%s'\n", lines[i].args, lines[i].code,
                        lines[i].err ? lines[i].err : "-", lines[i].out ? lines[i].out : "-");
            result_print(&r);
            bad++;
        }
        result_free(&r);
    }
    assert_int_equal(bad, 0);
}

static void shell(struct result *r, const char *format)
{
    char command[1024];
    snprintf(command, sizeof command, format, test_millrace());
    result_runl(r, 20000, "sh", "-c", command, NULL);
}

/* `| head` ends a command quietly; a full disk does not. */
static void test_output_that_ends(void **state)
{
    (void)state;
    struct result r = {0};
    shell(&r, "{ %s help config --json; echo $? >&2; } | true");
    assert_string_equal(r.err, "0\n");
    shell(&r, "%s help config > /dev/full");
    result_expect(&r, 1);
    assert_non_null(strstr(r.err, "stdout: No space left on device"));
    result_free(&r);
}

/* Every command of the table answers --help on stdout and refuses an option it does not know with 2. */
static void test_every_command(void **state)
{
    (void)state;
    struct result list = {0}, r = {0};
    int count = 0;
    result_runl(&list, 20000, test_millrace(), "help", NULL);
    result_expect(&list, 0);
    char *save = NULL;
    for (char *l = strtok_r(list.out, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        char name[32], use[64];
        if (strncmp(l, "  ", 2) != 0 || sscanf(l + 2, "%31[a-z-]", name) != 1)
            continue;
        count++;
        result_runl(&r, 20000, test_millrace(), name, "--help", NULL);
        result_expect(&r, 0);
        snprintf(use, sizeof use, "usage: millrace %s", name);
        assert_non_null(strstr(r.out, use));
        result_runl(&r, 20000, test_millrace(), name, "--no-such-option", NULL);
        result_expect(&r, 2);
        assert_non_null(strstr(r.err, "unknown option --no-such-option"));
    }
    assert_true(count >= 9);
    result_free(&r);
    result_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_output_that_ends),
        cmocka_unit_test(test_every_command),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
