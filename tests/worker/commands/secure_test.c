/* A broker that asks who comes: what a worker with exactly the rights of compose/README.md does, what is said of each right that
 * is missing, of wrong passwords and certificates, and of a refusal that comes later. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/records.h"
#include "tests/lib/secure.h"

#undef fail
#include <cmocka.h>

enum { LIMIT_MS = 60000, RIGHTS = 40 };

static struct secure_broker *broker(void)
{
    static struct secure_broker b;
    if (!b.sasl[0])
        secure_up(&b);
    return &b;
}

/* ---- the list of compose/README.md ---- */

struct right {
    char role[40];
    struct acl acl;
};

/* A name of the list as this stage calls it. */
static void rename_for(const struct stage *s, const char *name, char *out, size_t size)
{
    const char *rest = name + strlen("millrace.");
    const char *slot = strstr(rest, "SLOT");
    if (strncmp(name, "millrace.", 9) != 0)
        fail_msg("%s does not begin as it should", name);
    snprintf(out, size, "%s%s%s", s->prefix, slot ? "a" : rest,
             slot ? slot + 4 : ""); /* the group's name is the prefix */
}

static int rights_read(const struct stage *s, struct right out[RIGHTS])
{
    static const struct {
        const char *word;
        enum acl_type type;
        bool prefixed;
    } kinds[] = {{"topic", ACL_TOPIC, false},
                 {"group", ACL_GROUP, false},
                 {"transactional id, prefixed", ACL_TRANSACTIONAL_ID, true}};
    char line[400], role[40], kind[60], name[200], operation[40];
    int n = 0;
    FILE *f = fopen("compose/README.md", "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "| %39[a-z] | %59[^|] | %199[^ ] | %39[A-Za-z] |", role, kind, name, operation) !=
                4 ||
            (strcmp(role, "infer") != 0 && strcmp(role, "train") != 0))
            continue;
        struct right *r = &out[n++];
        assert_true(n <= RIGHTS);
        size_t k = 0;
        kind[strlen(kind) - 1] = 0;
        while (k < 3 && strcmp(kinds[k].word, kind) != 0)
            k++;
        assert_true(k < 3);
        snprintf(r->role, sizeof r->role, "%s", role);
        r->acl = (struct acl){.type = kinds[k].type, .prefixed = kinds[k].prefixed};
        r->acl.operation = strcmp(operation, "Read") == 0 ? ACL_READ : ACL_WRITE;
        rename_for(s, name, r->acl.name, sizeof r->acl.name);
    }
    fclose(f);
    assert_true(n > 15);
    return n;
}

static void grant_all(const struct stage *s)
{
    struct right rights[RIGHTS];
    int n = rights_read(s, rights);
    for (int i = 0; i < n; i++)
        secure_grant(broker(), &rights[i].acl);
}

/* ---- stages ---- */

/* Topics by the administrator, the rights of the list, and a configuration by which "worker" comes. */
static void begin(struct stage *s, struct result *r)
{
    stage_open(s, broker()->plain.bootstrap);
    stage_run(s, r, LIMIT_MS, "topics", "create", "--partitions", "1", NULL);
    result_expect(r, 0);
    grant_all(s);
}

static const char *config_for(struct stage *s, const char *address, const char *kafka, const char *roles,
                              const char *worker, const char *rest)
{
    struct stage other = *s;
    snprintf(other.bootstrap, sizeof other.bootstrap, "%s", address);
    const char *path = stage_config(
        &other, &(struct stage_settings){.roles = roles, .kafka = kafka, .worker = worker, .rest = rest});
    s->configs = other.configs;
    return path;
}

static const char *by_password(struct stage *s, const char *roles, const char *worker)
{
    return config_for(s, broker()->sasl, secure_password(broker(), "PLAIN", broker()->password, "ca"), roles,
                      worker, "engine: {backend: cpu, threads: 1}\n");
}

static void run_with(struct result *r, const char *command, const char *config)
{
    result_runl(r, LIMIT_MS, test_millrace(), command, "-c", config, NULL);
}

static void expect_text(const struct result *r, const char *text)
{
    if (!strstr(r->err, text) && !strstr(r->out, text)) {
        result_print(r);
        fail_msg("nobody said \"%s\"", text);
    }
}

/* The last line of stderr is the reason, and it is one. */
static void expect_one_line(const struct result *r, const char *command)
{
    char begin_of_line[40];
    int count = 0;
    snprintf(begin_of_line, sizeof begin_of_line, "millrace: %s: ", command);
    for (const char *at = r->err; (at = strstr(at, begin_of_line)); at++)
        count++;
    assert_int_equal(count, 1);
}

static void expect_refused(struct result *r, const char *config, const char *text)
{
    run_with(r, "worker", config);
    result_expect(r, 3);
    expect_one_line(r, "worker");
    expect_text(r, text);
    run_with(r, "check", config);
    result_expect(r, 3);
    expect_text(r, text);
}

static void stop(struct process *worker)
{
    process_signal(worker, SIGTERM);
    assert_int_equal(process_wait(worker, LIMIT_MS), 0);
}

/* ---- cases ---- */

static void exactly_the_listed_rights_are_enough(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    begin(&s, &r);
    const char *config = by_password(&s, "[infer, train]", NULL), *data = test_path("digits.npz");
    run_with(&r, "check", config);
    result_expect(&r, 0);
    result_runl(&r, LIMIT_MS, test_millrace(), "make-data", "digits", "--output", data, "--rows", "400",
                "--seed", "1", "--shape", "3x32x32", NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "send", data, "--samples", "--rows-per-record", "20", NULL);
    result_expect(&r, 0);
    const char *ranges = test_write(test_path("ranges.json"), r.out);
    const char *job = test_write(
        test_path("job.yaml"), "model: digits\nnetwork: lenet\nvalidation_rate: 0.1\ncheckpoint_every: 5\n"
                               "hyperparameters: {learning_rate: 0.02, batch_size: 32, epochs: 2, seed: 1}\n"
                               "promote: {metric: val_accuracy, automatic: true}\n");
    stage_worker(&s, &worker, config);
    stage_run(&s, &r, LIMIT_MS, "train", job, "--dataset", ranges, "--json", NULL);
    result_expect(&r, 0);
    expect_text(&r, "\"state\":\"COMPLETED\"");
    stage_run(&s, &r, LIMIT_MS, "send", data, "--model", "digits", NULL);
    result_expect(&r, 0);
    stage_put(&s, "inference", 0, "bad", "no avro", 7);
    stage_check(&s, &r, 60, "--inputs", "26", "--poison", "1", NULL);
    result_expect(&r, 0);
    stop(&worker);

    /* A client certificate is the same user. */
    config = config_for(&s, broker()->tls, secure_certificate(broker(), "worker"), "[infer]", NULL, NULL);
    run_with(&r, "check", config);
    result_expect(&r, 0);
    stage_worker(&s, &worker, config);
    stage_run(&s, &r, LIMIT_MS, "send", data, "--model", "digits", NULL);
    result_expect(&r, 0);
    stage_check(&s, &r, 60, "--inputs", "51", "--poison", "1", NULL);
    result_expect(&r, 0);
    stop(&worker);
    result_free(&r);
}

static void each_missing_right_is_named(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct right rights[RIGHTS];
    begin(&s, &r);
    int n = rights_read(&s, rights);
    const char *infer = by_password(&s, "[infer]", NULL), *train = by_password(&s, "[train]", NULL);
    for (int i = 0; i < n; i++) {
        const struct acl *a = &rights[i].acl;
        const char *config = strcmp(rights[i].role, "infer") == 0 ? infer : train;
        char started[500], checked[500];
        bool id = a->type == ACL_TRANSACTIONAL_ID, topic = a->type == ACL_TOPIC;
        const char *kind = id ? "transactional id" : topic ? "topic" : "group";
        bool alone = topic; /* Describe goes with the last right to a topic */
        for (int j = 0; j < n && alone; j++)
            alone = strcmp(rights[j].acl.name, a->name) != 0 || rights[j].acl.operation == a->operation;
        const char *operation = alone ? "Describe" : a->operation == ACL_READ ? "Read" : "Write";
        snprintf(started, sizeof started, "%s %s%s: the right %s is missing", kind, a->name,
                 id ? rights[i].role : "", operation);
        snprintf(checked, sizeof checked, "%s %s%s: the right %s is missing", kind, a->name,
                 id ? "check" : "", operation);
        secure_revoke(broker(), a);
        run_with(&r, "worker", config);
        result_expect(&r, 3);
        expect_one_line(&r, "worker");
        expect_text(&r, started);
        run_with(&r, "check", config);
        result_expect(&r, 3);
        expect_text(&r, checked);
        secure_grant(broker(), a);
    }
    run_with(&r, "check", infer);
    result_expect(&r, 0);
    run_with(&r, "check", train);
    result_expect(&r, 0);
    result_free(&r);
}

static void who_is_not_known_is_told_what_to_do(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct secure_broker *b = broker();
    begin(&s, &r);
    expect_refused(&r, config_for(&s, b->sasl, secure_password(b, "PLAIN", "wrong", "ca"), NULL, NULL, NULL),
                   "kafka.sasl.username and kafka.sasl.password");
    expect_refused(
        &r, config_for(&s, b->sasl, secure_password(b, "PLAIN", b->password, "wrongca"), NULL, NULL, NULL),
        "kafka.ssl.ca.location must hold the CA of the broker's certificate");
    expect_refused(
        &r, config_for(&s, b->sasl, secure_password(b, "SCRAM-SHA-256", b->password, "ca"), NULL, NULL, NULL),
        "kafka.sasl.mechanisms must name one that the broker has");
    expect_refused(
        &r, config_for(&s, b->sasl, secure_password(b, "SCRAM-SHA-512", b->password, "ca"), NULL, NULL, NULL),
        "librdkafka before 2.6.1 is refused SCRAM by Kafka from 3.8.1 on even with the right password");
    expect_refused(&r, config_for(&s, b->tls, secure_certificate(b, "intruder"), NULL, NULL, NULL),
                   "wants a client certificate of a CA that it trusts");
    expect_refused(&r, config_for(&s, b->tls, secure_certificate(b, NULL), NULL, NULL, NULL),
                   "wants a client certificate of a CA that it trusts");
    const char *off =
        config_for(&s, b->tls, "  enable.ssl.certificate.verification: false\n", NULL, NULL, NULL);
    run_with(&r, "worker", off);
    result_expect(&r, 3);
    expect_text(&r, "allow_insecure: true");
    result_free(&r);
}

/* A right is taken from a running worker and given back: it waits and goes on. Then it is not given back. */
static void a_refusal_that_comes_later_is_waited_for(void **state)
{
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    begin(&s, &r);
    stage_model(&s, "lenet", 1, 1, true);
    stage_worker(&s, &worker, by_password(&s, "[infer]", "  refused_s: 20\n"));
    request_send(
        &s, &(struct request){.id = "1", .model = "lenet", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    stage_check(&s, &r, 60, "--inputs", "1", NULL);
    result_expect(&r, 0);
    struct acl acl = {.type = ACL_TOPIC, .operation = ACL_WRITE};
    snprintf(acl.name, sizeof acl.name, "%spredictions", s.prefix);
    secure_revoke(broker(), &acl);
    request_send(
        &s, &(struct request){.id = "2", .model = "lenet", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    assert_true(process_wait_text(&worker, "refused: trying again", 2, LIMIT_MS));
    assert_true(process_wait_text(&worker, acl.name, 1, LIMIT_MS));
    secure_grant(broker(), &acl);
    stage_check(&s, &r, 60, "--inputs", "2", NULL);
    result_expect(&r, 0);
    stop(&worker);

    stage_worker(&s, &worker, by_password(&s, "[infer]", "  refused_s: 2\n"));
    assert_true(process_wait_text(&worker, "partitions assigned", 1, LIMIT_MS));
    secure_revoke(broker(), &acl);
    request_send(
        &s, &(struct request){.id = "3", .model = "lenet", .rows = 1, .channels = 3, .dtype = DTYPE_UINT8});
    assert_int_equal(process_wait(&worker, LIMIT_MS), 75);
    secure_grant(broker(), &acl);
    result_free(&r);
}

/* A crash with an unlimited core size in a folder of its own. Returns whether a core file lies there; its bytes are looked
 * through for `secret`. */
static bool dumps_core(struct process *p, const char *log, const char *config, const char *secret)
{
    char command[1200], dir[300];
    snprintf(dir, sizeof dir, "%s.d", test_path(log));
    snprintf(command, sizeof command,
             "mkdir -p %s && millrace=$(realpath %s) && cd %s && ulimit -c unlimited && exec $millrace "
             "worker -c %s",
             dir, test_millrace(), dir, config);
    process_start(p, log, (const char *[]){"bash", "-c", command, NULL});
    assert_true(process_wait_text(p, "\"event\":\"ready\"", 1, LIMIT_MS));
    process_signal(p, SIGSEGV);
    assert_int_equal(process_wait(p, LIMIT_MS), 128 + SIGSEGV);
    struct result r = {0};
    snprintf(command, sizeof command,
             "cat %s/core* 2>/dev/null | grep -aqF %s && echo found; ls %s | grep core", dir, secret, dir);
    result_runl(&r, LIMIT_MS, "bash", "-c", command, NULL);
    assert_null(strstr(r.out, "found"));
    bool dumped = strstr(r.out, "core") != NULL;
    result_free(&r);
    return dumped;
}

static void does_not_hold(const char *text, const char *secret, const char *where)
{
    if (strstr(text, secret))
        fail_msg("%s holds a secret", where);
}

static void secrets_stay_inside(void **state)
{
    static const char talkative[] = "log: {level: debug, format: json}\n";
    (void)state;
    struct stage s;
    struct result r = {0};
    struct process p = {0};
    struct secure_broker *b = broker();
    char kafka[2000];
    begin(&s, &r);
    for (int i = 0; i < 2; i++) {
        const char *secret = i ? b->key_password : b->password;
        snprintf(kafka, sizeof kafka, "  debug: all\n%s",
                 i ? secure_certificate(b, "worker") : secure_password(b, "PLAIN", b->password, "ca"));
        const char *config = config_for(&s, i ? b->tls : b->sasl, kafka, "[infer]", NULL, talkative);
        const char *log = i ? "certificate.log" : "password.log";
        assert_false(dumps_core(&p, log, config, secret));
        result_runl(&r, LIMIT_MS, "grep", "-c", secret, p.log, NULL);
        assert_string_equal(r.out, "0\n");
        result_runl(&r, LIMIT_MS, "grep", "-c", "librdkafka", p.log, NULL);
        assert_true(atoi(r.out) > 10); /* it did say what it does */
        result_runl(&r, LIMIT_MS, test_millrace(), "check", "--print", "-c", config, NULL);
        result_expect(&r, 0);
        does_not_hold(r.out, secret, "check --print");
        expect_text(&r, "***");
        run_with(&r, "check", config);
        does_not_hold(r.out, secret, "check");
        does_not_hold(r.err, secret, "check");
    }
    /* Without secrets there is a core: what is looked for above could be found. */
    if (!dumps_core(&p, "plain.log", s.config, b->password))
        print_message("# no core files here: core_pattern or a limit forbids them\n");
    result_free(&r);
}

int main(void)
{
    cmocka_set_test_filter(getenv("SECURE_ONLY"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_not_known_is_told_what_to_do),
        cmocka_unit_test(exactly_the_listed_rights_are_enough),
        cmocka_unit_test(each_missing_right_is_named),
        cmocka_unit_test(secrets_stay_inside),
        cmocka_unit_test(a_refusal_that_comes_later_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
