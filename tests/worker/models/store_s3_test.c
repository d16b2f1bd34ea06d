/* The store in a bucket of a real S3 server that checks signatures; and behind a gate of our own that answers 503, breaks
 * transfers off or lets them stall, as networks do. */
#include "worker/models/store.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/folder.h"
#include "tests/lib/s3.h"
#include "worker/models/s3.h"

#define STORE "s3://models/place"

enum { BIG = 3 << 20 };

/* ---- the gate: a relay that does something to the first `faults` connections ---- */

enum fault { BUSY, CUT, STALL, HANG_UP };

struct gate {
    int listener, port, behind;
    atomic_int faults, connections;
    enum fault fault;
    atomic_bool stop;
    pthread_t thread;
};

static int socket_to(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static bool copy(int from, int to, size_t *moved)
{
    char bytes[65536];
    ssize_t n = recv(from, bytes, sizeof bytes, 0);
    for (ssize_t done = 0; n > 0 && done < n;) {
        ssize_t m = send(to, bytes + done, (size_t)(n - done), MSG_NOSIGNAL);
        if (m <= 0)
            return false;
        done += m;
    }
    *moved += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* Both ways until one side ends; a broken connection ends after a megabyte of answer, a stalled one goes silent there
 * until the client gives up. */
static void relay(struct gate *g, int client, bool broken)
{
    int server = socket_to(g->behind);
    size_t up = 0, down = 0;
    bool silent = false;
    while (!g->stop) {
        struct pollfd p[2] = {{.fd = client, .events = POLLIN},
                              {.fd = silent ? -1 : server, .events = POLLIN}};
        if (poll(p, 2, 50) > 0 &&
            ((p[0].revents && !copy(client, server, &up)) || (p[1].revents && !copy(server, client, &down))))
            break;
        if (broken && down > 1 << 20 && g->fault == CUT)
            break;
        silent = broken && down > 1 << 20;
    }
    close(server);
}

static void *gate_run(void *arg)
{
    static const char busy[] = "HTTP/1.1 503 Slow Down\r\nContent-Length: 56\r\nConnection: close\r\n\r\n"
                               "<Error><Code>SlowDown</Code><Message>x</Message></Error>";
    struct gate *g = arg;
    while (!g->stop) {
        struct pollfd p = {.fd = g->listener, .events = POLLIN};
        int client = poll(&p, 1, 50) > 0 ? accept(g->listener, NULL, NULL) : -1;
        if (client < 0)
            continue;
        g->connections++;
        bool broken = atomic_fetch_sub(&g->faults, 1) > 0;
        if (broken && g->fault == BUSY) {
            char request[4096];
            if (recv(client, request, sizeof request, 0) > 0)
                send(client, busy, sizeof busy - 1, MSG_NOSIGNAL);
        } else if (!broken || g->fault != HANG_UP) {
            relay(g, client, broken);
        }
        close(client);
    }
    return NULL;
}

static void gate_open(struct gate *g, const struct s3_server *s, enum fault fault, int faults)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    *g = (struct gate){
        .behind = s->port, .fault = fault, .listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    g->faults = faults;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(g->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(g->listener, 16), 0);
    assert_int_equal(getsockname(g->listener, (struct sockaddr *)&at, &size), 0);
    g->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&g->thread, NULL, gate_run, g), 0);
}

static void gate_close(struct gate *g)
{
    g->stop = true;
    pthread_join(g->thread, NULL);
    close(g->listener);
}

/* A client of the gate that is less patient than a worker. */
static void client_of(struct gate *g, struct s3 *s3)
{
    struct fail why;
    assert_int_equal(s3_open(s3, &why), 0);
    snprintf(s3->account.endpoint, sizeof s3->account.endpoint, "http://127.0.0.1:%d", g->port);
    s3->patience.pause_ms = 5;
    s3->patience.stall_s = 1;
}

/* ---- the bucket ---- */

static int setup(void **state)
{
    static struct s3_server server;
    s3_server_start(&server);
    *state = &server;
    return 0;
}

static int teardown(void **state)
{
    struct s3_server *s = *state;
    process_kill(&s->process);
    return 0;
}

static int fresh_environment(void **state)
{
    s3_environment(*state);
    return 0;
}

static void says(const struct fail *why, const char *text)
{
    if (!strstr(why->text, text))
        fail_msg("expected \"%s\" in: %s", text, why->text);
    assert_null(strstr(why->text, S3_SECRET));
}

static void put_get_delete(void **state)
{
    const struct s3_server *s = *state;
    struct fail why = {0};
    char uri[STORE_URI], sha[SHA256_HEX], wanted[STORE_URI], path[2 * STORE_URI];
    void *bytes = NULL;
    size_t size = 0;
    if (store_check(STORE "/", &why))
        fail_msg("%s", why.text);
    assert_int_equal(store_put(STORE "/", "digits", NULL, "abc", 3, uri, sha, &why), 0);
    snprintf(wanted, sizeof wanted, STORE "/digits/%s.onnx", sha);
    assert_string_equal(uri, wanted);
    snprintf(path, sizeof path, "%s/models/place/digits/%s.onnx", s->folder, sha);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(store_get(STORE, uri, sha, &bytes, &size, &why), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "abc", 3);
    free(bytes);
    assert_int_equal(store_delete(STORE, uri, &why), 0);
    assert_int_equal(store_delete(STORE, uri, &why), 0);
    assert_int_equal(store_get(STORE, uri, sha, &bytes, &size, &why), -E_FILE);
    says(&why, "there is no such object");
    assert_int_equal(store_get("s3://models/elsewhere", uri, sha, &bytes, &size, &why), -E_FILE);
    says(&why, "is not in the model store");
}

static void empty_and_odd_keys(void **state)
{
    (void)state;
    struct fail why = {0};
    struct s3 s3;
    void *bytes = NULL;
    size_t size = 0;
    const char *odd = "s3://models/a b/\xc3\xa9+&=~%41/x";
    assert_int_equal(s3_open(&s3, &why), 0);
    if (s3_put(&s3, odd, "xyz", 3, true, &why) || s3_get(&s3, odd, 3, &bytes, &size, &why))
        fail_msg("%s", why.text);
    assert_int_equal(size, 3);
    free(bytes);
    assert_int_equal(s3_get(&s3, odd, 2, &bytes, &size, &why), -E_FILE);
    says(&why, "larger than the 2 bytes");
    assert_int_equal(s3_put(&s3, "s3://models/nothing", "", 0, false, &why), 0);
    assert_int_equal(s3_get(&s3, "s3://models/nothing", 10, &bytes, &size, &why), 0);
    assert_int_equal(size, 0);
    free(bytes);
}

/* An equal object is not written again; a damaged one is noticed and replaced. */
static void never_overwritten_unless_damaged(void **state)
{
    const struct s3_server *s = *state;
    struct fail why = {0};
    struct gate g;
    char uri[STORE_URI], sha[SHA256_HEX], path[2 * STORE_URI];
    void *bytes = NULL;
    size_t size = 0;
    assert_int_equal(store_put(STORE, "digits", NULL, "abcd", 4, uri, sha, &why), 0);
    gate_open(&g, s, BUSY, 0);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", g.port);
    setenv("AWS_ENDPOINT_URL_S3", endpoint, 1);
    assert_int_equal(store_put(STORE, "digits", NULL, "abcd", 4, uri, sha, &why), 0);
    gate_close(&g);
    assert_int_equal(g.connections, 2); /* HEAD and GET, no PUT */
    s3_environment(s);
    snprintf(path, sizeof path, "%s/models/place/digits/%s.onnx", s->folder, sha);
    folder_write(path, "abXd", 4);
    assert_int_equal(store_get(STORE, uri, sha, &bytes, &size, &why), -E_FILE);
    says(&why, "SHA-256 is ");
    assert_int_equal(store_put(STORE, "digits", NULL, "abcd", 4, uri, sha, &why), 0);
    assert_int_equal(store_get(STORE, uri, sha, &bytes, &size, &why), 0);
    free(bytes);
}

static int count_and_delete(void *arg, const char *uri, const char *name, struct fail *why)
{
    (*(int *)arg)++;
    assert_memory_equal(name, "job-", 4);
    return store_delete(STORE, uri, why);
}

static void list_many(void **state)
{
    const struct s3_server *s = *state;
    struct fail why = {0};
    char uri[STORE_URI], sha[SHA256_HEX], path[2 * STORE_URI];
    int count = 0;
    assert_int_equal(store_list(STORE, "many", "checkpoints", count_and_delete, &count, &why), 0);
    assert_int_equal(count, 0);
    assert_int_equal(store_put(STORE, "many", "checkpoints/job-first", "a", 1, uri, sha, &why), 0);
    for (int i = 0; i < 1200; i++) { /* more than the thousand of one answer */
        snprintf(path, sizeof path, "%s/models/place/many/checkpoints/job-%d", s->folder, i);
        folder_write(path, "b", 1);
    }
    if (store_list(STORE, "many", "checkpoints", count_and_delete, &count, &why))
        fail_msg("%s", why.text);
    assert_int_equal(count, 1201);
    count = 0;
    assert_int_equal(store_list(STORE, "many", "checkpoints", count_and_delete, &count, &why), 0);
    assert_int_equal(count, 0);
}

static void refused(void **state)
{
    (void)state;
    struct fail why = {0};
    char uri[STORE_URI], sha[SHA256_HEX];
    setenv("AWS_SECRET_ACCESS_KEY", "wrong", 1);
    assert_int_equal(store_check(STORE, &why), -E_IO);
    says(&why, "403 SignatureDoesNotMatch: the secret key (AWS_SECRET_ACCESS_KEY");
    assert_int_equal(store_put(STORE, "a", NULL, "a", 1, uri, sha, &why), -E_IO);
    says(&why, "SignatureDoesNotMatch");
    setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET, 1);
    setenv("AWS_ACCESS_KEY_ID", "NOBODY", 1);
    assert_int_equal(store_check(STORE, &why), -E_IO);
    says(&why, "InvalidAccessKeyId");
    setenv("AWS_ACCESS_KEY_ID", S3_KEY_ID, 1);
    assert_int_equal(store_check("s3://no-such-bucket/x", &why), -E_IO);
    says(&why, "there is no such bucket");
    assert_int_equal(store_check("s3://Bad_Name/x", &why), -E_CONFIG);
    says(&why, "expected s3://BUCKET/KEY");
}

static void unreachable(void **state)
{
    (void)state;
    struct fail why = {0};
    struct s3 s3;
    void *bytes = NULL;
    size_t size = 0;
    assert_int_equal(s3_open(&s3, &why), 0);
    s3.patience.pause_ms = 1;
    snprintf(s3.account.endpoint, sizeof s3.account.endpoint, "http://127.0.0.1:%d", test_free_port());
    assert_int_equal(s3_get(&s3, "s3://models/x", 10, &bytes, &size, &why), -E_IO);
    says(&why, "Failed to connect");
    says(&why, "4 tries");
}

static void faulty(void **state, enum fault fault, int faults, const char *text)
{
    struct fail why = {0};
    struct gate g;
    struct s3 s3;
    char *big = malloc(BIG);
    void *bytes = NULL;
    size_t size = 0;
    for (int i = 0; i < BIG; i++)
        big[i] = (char)(i * 31 + i / 1000);
    assert_int_equal(s3_open(&s3, &why), 0);
    if (s3_put(&s3, "s3://models/big", big, BIG, false, &why))
        fail_msg("%s", why.text);
    gate_open(&g, *state, fault, faults);
    client_of(&g, &s3);
    if (s3_get(&s3, "s3://models/big", BIG, &bytes, &size, &why))
        fail_msg("%s", why.text);
    assert_int_equal(g.connections, faults + 1);
    assert_int_equal(size, BIG);
    assert_memory_equal(bytes, big, BIG);
    free(bytes);
    g.faults = 100;
    s3.patience.tries = faults;
    assert_int_equal(s3_get(&s3, "s3://models/big", BIG, &bytes, &size, &why), -E_IO);
    assert_int_equal(g.connections, 2 * faults + 1);
    says(&why, text);
    says(&why, "tries");
    gate_close(&g);
    free(big);
}

static void busy_is_tried_again(void **state)
{
    faulty(state, BUSY, 2, "503 SlowDown");
}

static void cut_off_is_tried_again(void **state)
{
    faulty(state, CUT, 2, "cut off after 1");
}

static void stalled_is_tried_again(void **state)
{
    faulty(state, STALL, 1, "stalled after 1");
}

static void put_is_tried_again(void **state)
{
    struct fail why = {0};
    struct gate g;
    struct s3 s3;
    void *bytes = NULL;
    size_t size = 0;
    gate_open(&g, *state, HANG_UP, 2);
    client_of(&g, &s3);
    if (s3_put(&s3, "s3://models/again", "again", 5, true, &why) ||
        s3_get(&s3, "s3://models/again", 5, &bytes, &size, &why))
        fail_msg("%s", why.text);
    assert_int_equal(g.connections, 4);
    assert_memory_equal(bytes, "again", 5);
    free(bytes);
    gate_close(&g);
}

/* ---- who we are ---- */

static void account_of_files(void **state)
{
    const struct s3_server *s = *state;
    struct s3_account a;
    struct fail why = {0};
    char text[400];
    unsetenv("AWS_ACCESS_KEY_ID");
    assert_int_equal(s3_account_load(&a, &why), -E_CONFIG);
    says(&why, "AWS_SECRET_ACCESS_KEY");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    assert_int_equal(store_check(STORE, &why), -E_CONFIG);
    assert_int_equal(store_get(STORE, STORE "/x", "", &(void *){NULL}, &(size_t){0}, &why),
                     -E_IO); /* not: damaged */
    assert_int_equal(s3_account_load(&a, &why), -E_CONFIG);
    says(&why, "no access key for S3: set AWS_ACCESS_KEY_ID");
    setenv("AWS_SHARED_CREDENTIALS_FILE",
           test_write(test_path("credentials"),
                      "# of a test\n[other]\naws_access_key_id=X\n[default]\naws_access_key_id = " S3_KEY_ID
                      "\r\naws_secret_access_key=" S3_SECRET "\n"),
           1);
    assert_int_equal(s3_account_load(&a, &why), 0);
    assert_string_equal(a.key_id, S3_KEY_ID);
    assert_string_equal(a.region, "us-east-1");
    unsetenv("AWS_ENDPOINT_URL_S3");
    snprintf(text, sizeof text,
             "[default]\nregion=eu-west-1\n[profile other]\nregion = eu-north-1\nendpoint_url = %s/\n",
             s->endpoint);
    setenv("AWS_CONFIG_FILE", test_write(test_path("config"), text), 1);
    setenv("AWS_PROFILE", "other", 1);
    assert_int_equal(s3_account_load(&a, &why), -E_CONFIG);
    says(&why, "no secret key for S3");
    setenv("AWS_ACCESS_KEY_ID", S3_KEY_ID, 1);
    setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET, 1);
    assert_int_equal(s3_account_load(&a, &why), 0);
    assert_string_equal(a.region, "eu-north-1");
    assert_string_equal(a.endpoint, s->endpoint);
    if (store_check(STORE, &why)) /* signed for that region, by the file's server */
        fail_msg("%s", why.text);
    setenv("AWS_ENDPOINT_URL", "ftp://x", 1);
    assert_int_equal(s3_account_load(&a, &why), -E_CONFIG);
    says(&why, "expected http://HOST");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, fresh_environment)
    const struct CMUnitTest tests[] = {
        CASE(put_get_delete),
        CASE(empty_and_odd_keys),
        CASE(never_overwritten_unless_damaged),
        CASE(list_many),
        CASE(refused),
        CASE(unreachable),
        CASE(busy_is_tried_again),
        CASE(cut_off_is_tried_again),
        CASE(stalled_is_tried_again),
        CASE(put_is_tried_again),
        CASE(account_of_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
