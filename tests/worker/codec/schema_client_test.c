/* The client against a real schema registry, plain and behind nginx with TLS, basic authentication, client certificates and bearer
 * tokens; and against servers that are away, stall, or are something else. */
#include "worker/codec/schema_client.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/schema_server.h"
#include "worker/codec/record.h"

static struct schema_server server;
static struct schema_gate gate;

static int start(void **state)
{
    (void)state;
    schema_server_start(&server);
    schema_gate_start(&gate, &server);
    return 0;
}

/* What the settings are where a case says nothing. */
static struct settings plain(const char *url)
{
    static char empty[1];
    return (struct settings){.registry_url = (char *)(uintptr_t)url,
                             .registry_username = empty,
                             .registry_password = empty,
                             .registry_password_file = empty,
                             .registry_token = empty,
                             .registry_token_file = empty,
                             .registry_ca_file = empty,
                             .registry_cert_file = empty,
                             .registry_key_file = empty,
                             .registry_auto_register = true};
}

static struct schema_client *open_on(const struct settings *s)
{
    struct schema_client *c = NULL;
    struct fail why = {0};
    if (schema_client_open(&c, s, &why))
        fail_msg("%s", why.text);
    return c;
}

static int ping(const struct settings *s, struct fail *why)
{
    struct schema_client *c = open_on(s);
    *why = (struct fail){0};
    int rc = schema_client_ping(c, why);
    schema_client_close(&c);
    return rc;
}

static void expect_ping(const struct settings *s, enum fail_code code)
{
    struct fail why;
    int rc = ping(s, &why);
    if (rc != -(int)code)
        fail_msg("%s: expected %s, got %d %s", s->registry_url, fail_name(code), rc, why.text);
    if (rc)
        assert_null(strstr(why.text, "secret"));
}

static void test_registers_finds_and_reads(void **state)
{
    const struct record_type *t = record_type_find("InferenceBatch");
    const struct settings s = plain(server.url);
    struct schema_client *c = open_on(&s);
    uint32_t id = 0, again = 0, found = 0, of_version = 0;
    struct fail why;
    char *text = NULL, level[32];
    int versions[4], count;
    (void)state;
    assert_int_equal(schema_client_find(c, "a/b c-value", record_schema(t, 1), &found, &why),
                     -E_UNKNOWN_SCHEMA);
    assert_int_equal(schema_client_register(c, "t.inference-value", record_schema(t, 1), &id, &why), 0);
    assert_int_equal(schema_client_register(c, "t.inference-value", record_schema(t, 1), &again, &why), 0);
    assert_int_equal(schema_client_find(c, "t.inference-value", record_schema(t, 1), &found, &why), 0);
    assert_true(id > 0 && id == again && id == found);
    assert_int_equal(schema_client_get(c, id, &text, &why), 0);
    assert_string_equal(text, record_schema(t, 1)); /* as it was written: documentation, defaults and all */
    free(text);
    text = NULL;
    assert_int_equal(schema_client_versions(c, "t.inference-value", versions, 4, &count, &why), 0);
    assert_int_equal(count, 1);
    assert_int_equal(schema_client_version(c, "t.inference-value", versions[0], &text, &of_version, &why), 0);
    assert_string_equal(text, record_schema(t, 1));
    assert_int_equal(of_version, id);
    free(text);
    schema_client_stop(c, &(struct schema_stop){0}); /* nobody asks */
    assert_int_equal(schema_client_level(c, "t.inference-value", level, &why), 0);
    assert_string_equal(level, "NONE");
    schema_client_close(&c);
}

static void test_says_what_is_not_there(void **state)
{
    const struct settings s = plain(server.url);
    struct schema_client *c = open_on(&s);
    struct fail why;
    char *text = NULL;
    uint32_t id;
    int versions[4], count;
    (void)state;
    assert_int_equal(schema_client_get(c, 4000000, &text, &why), -E_UNKNOWN_SCHEMA);
    assert_non_null(strstr(why.text, "4000000"));
    assert_int_equal(schema_client_versions(c, "nobody", versions, 4, &count, &why), -E_UNKNOWN_SCHEMA);
    assert_int_equal(schema_client_version(c, "nobody", 7, &text, &id, &why), -E_UNKNOWN_SCHEMA);
    assert_int_equal(schema_client_register(c, "bad", "{\"type\":\"nonsense\"}", &id, &why), -E_FAILED);
    assert_null(text);
    schema_client_close(&c);
}

/* A wrong path, a web server, nobody: none of them is a verdict on a schema. */
static void test_others_are_no_schema_registry(void **state)
{
    char url[200];
    struct settings s = plain(url);
    struct fail why;
    char *text = NULL;
    (void)state;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/elsewhere", server.port);
    struct schema_client *c = open_on(&s);
    assert_int_equal(schema_client_get(c, 1, &text, &why), -E_UNREACHABLE);
    schema_client_close(&c);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", test_free_port());
    c = open_on(&s);
    assert_int_equal(schema_client_get(c, 1, &text, &why), -E_UNREACHABLE);
    schema_client_close(&c);
}

static void test_urls_are_tried_in_turn(void **state)
{
    char urls[400];
    const struct settings s = plain(urls);
    (void)state;
    snprintf(urls, sizeof urls, "http://127.0.0.1:%d, http://127.0.0.1:%d/elsewhere,%s/", test_free_port(),
             server.port, server.url);
    expect_ping(&s, E_OK);
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

/* A server that takes the connection and says nothing. */
static void test_a_stalled_server_is_given_up(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char url[100];
    const struct schema_stop stop = {always, NULL};
    struct fail why;
    (void)state;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    const struct settings s = plain(url);
    struct schema_client *c = open_on(&s);
    long began = now_ms();
    assert_int_equal(schema_client_ping(c, &why), -E_UNREACHABLE);
    assert_true(now_ms() - began < 3 * SCHEMA_TRY_MS);
    schema_client_stop(c, &stop);
    assert_int_equal(schema_client_ping(c, &why), -E_INTERRUPTED);
    schema_client_close(&c);
    close(listener);
}

static void test_basic_authentication(void **state)
{
    struct settings s = plain(gate.basic);
    (void)state;
    s.registry_ca_file = (char *)(uintptr_t)gate.ca_file;
    expect_ping(&s, E_DENIED);
    s.registry_username = (char[]){GATE_USER};
    s.registry_password = (char[]){"wrong-secret"};
    expect_ping(&s, E_DENIED);
    s.registry_password = (char[]){GATE_PASSWORD};
    expect_ping(&s, E_OK);
    s.registry_password = (char[]){""};
    s.registry_password_file = (char *)(uintptr_t)test_path("password");
    expect_ping(&s, E_CONFIG);
    test_write(s.registry_password_file, "wrong-secret\n");
    expect_ping(&s, E_DENIED);
    struct schema_client *c = open_on(&s);
    struct fail why;
    assert_int_equal(schema_client_ping(c, &why), -E_DENIED);
    test_write(s.registry_password_file, GATE_PASSWORD "\n"); /* renewed while it runs */
    assert_int_equal(schema_client_ping(c, &why), 0);
    schema_client_close(&c);
}

static void test_bearer_token(void **state)
{
    struct settings s = plain(gate.bearer);
    (void)state;
    s.registry_ca_file = (char *)(uintptr_t)gate.ca_file;
    expect_ping(&s, E_DENIED);
    s.registry_token = (char[]){GATE_TOKEN};
    expect_ping(&s, E_OK);
    s.registry_token = (char[]){""};
    s.registry_token_file = (char *)(uintptr_t)test_write(test_path("token"), GATE_TOKEN "\n");
    expect_ping(&s, E_OK);
}

static void test_certificates(void **state)
{
    struct settings s = plain(gate.mtls);
    (void)state;
    expect_ping(&s, E_DENIED); /* the server's is not of the system's authorities */
    s.registry_ca_file = (char *)(uintptr_t)gate.other_ca_file;
    expect_ping(&s, E_DENIED);
    s.registry_ca_file = (char *)(uintptr_t)test_path("no-such-file");
    expect_ping(&s, E_CONFIG);
    s.registry_ca_file = (char *)(uintptr_t)gate.ca_file;
    expect_ping(&s, E_DENIED); /* no certificate of ours */
    s.registry_cert_file = (char *)(uintptr_t)gate.other_cert_file;
    s.registry_key_file = (char *)(uintptr_t)gate.other_key_file;
    expect_ping(&s, E_DENIED);
    s.registry_cert_file = (char *)(uintptr_t)gate.cert_file;
    expect_ping(&s, E_CONFIG); /* not its key */
    s.registry_key_file = (char *)(uintptr_t)gate.key_file;
    expect_ping(&s, E_OK);
}

/* The server gone: away; back: it answers again, through the same client. */
static void test_killed_and_back(void **state)
{
    const struct settings s = plain(server.url);
    struct schema_client *c = open_on(&s);
    struct fail why;
    (void)state;
    assert_int_equal(schema_client_ping(c, &why), 0);
    process_kill(&server.process);
    assert_int_equal(schema_client_ping(c, &why), -E_UNREACHABLE);
    schema_server_start(&server);
    assert_int_equal(schema_client_ping(c, &why), 0);
    schema_client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers_finds_and_reads),
        cmocka_unit_test(test_says_what_is_not_there),
        cmocka_unit_test(test_others_are_no_schema_registry),
        cmocka_unit_test(test_urls_are_tried_in_turn),
        cmocka_unit_test(test_a_stalled_server_is_given_up),
        cmocka_unit_test(test_basic_authentication),
        cmocka_unit_test(test_bearer_token),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_killed_and_back),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
