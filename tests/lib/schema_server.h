/* A real schema registry (Apicurio, Confluent-compatible) on loopback, for tests, and nginx in front of it for what it cannot do
 * itself: TLS, basic authentication, client certificates, bearer tokens. Everything fails the running cmocka test when it
 * cannot do its work. The registry is got once with mvn: tests/lib/apicurio. */
#ifndef TESTS_LIB_SCHEMA_SERVER_H
#define TESTS_LIB_SCHEMA_SERVER_H

#include <stdint.h>

#include "tests/lib/process.h"

struct schema_server {
    struct process process;
    int port;
    char url[100]; /* what schema_registry.url takes */
};

/* Starts one, empty: its storage is memory, ids begin at 1. One that was killed comes back under its old port, empty again. Ends with
 * the test program, or by process_kill. */
void schema_server_start(struct schema_server *s);
/* Puts a schema into a subject (with curl, not with our client); returns its id. */
uint32_t schema_server_put(const struct schema_server *s, const char *subject, const char *schema);

#define GATE_USER     "worker"
#define GATE_PASSWORD "reg-secret"
#define GATE_TOKEN    "token-of-the-test"

/* All with TLS, by a certificate of ca_file. */
struct schema_gate {
    struct process process;
    const char *dir; /* NULL: never started */
    char basic[64], mtls[64],
        bearer[64]; /* URLs: want GATE_USER and its password; a certificate of ca_file; GATE_TOKEN */
    const char *ca_file, *other_ca_file;
    const char *cert_file, *key_file;             /* of ca_file */
    const char *other_cert_file, *other_key_file; /* of other_ca_file */
};

/* One that was stopped comes back under its old ports. */
void schema_gate_start(struct schema_gate *g, const struct schema_server *s);

#endif
