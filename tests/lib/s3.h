/* A real S3 server that checks signatures (s3proxy) on loopback, for tests. Everything fails the running cmocka test when
 * it cannot do its work. The jar is got once with mvn: tests/lib/s3proxy. */
#ifndef TESTS_LIB_S3_H
#define TESTS_LIB_S3_H

#include "tests/lib/process.h"

#define S3_KEY_ID "TESTKEY"
#define S3_SECRET "TESTSECRET"

struct s3_server {
    struct process process;
    int port;
    char endpoint[64]; /* "http://127.0.0.1:20280" */
    char folder[256];  /* its buckets, a folder each: <folder>/<bucket>/<key> */
};

/* Starts one, makes the bucket "models", waits until it answers, and sets the environment of this program (and its
 * children) to its credentials and endpoint. Ends with the test program, or by process_kill. */
void s3_server_start(struct s3_server *s);
/* Sets the AWS_ variables to this server's, with no file of the user's in reach. */
void s3_environment(const struct s3_server *s);

#endif
