/* The secured broker's addresses, settings and ACLs. */
#include "tests/lib/secure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ADMIN_MS = 30000 };

static void read_word(const char *dir, const char *name, const char *before, char *out, size_t size)
{
    char path[600], line[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    size_t n = strlen(before);
    *out = 0;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, before, n) == 0)
            snprintf(out, size, "%.*s", (int)strcspn(line + n, "\n"), line + n);
    if (f)
        fclose(f);
    if (!*out)
        fail_msg("%s has no line \"%s...\"", path, before);
}

void secure_up(struct secure_broker *b)
{
    broker_up_secure(&b->plain);
    read_word(b->plain.dir, "secure", "SASL_SSL ", b->sasl, sizeof b->sasl);
    read_word(b->plain.dir, "secure", "SSL ", b->tls, sizeof b->tls);
    snprintf(b->certs, sizeof b->certs, "%s/certs", b->plain.dir);
    read_word(b->certs, "worker.password", "", b->password, sizeof b->password);
    read_word(b->certs, "key.password", "", b->key_password, sizeof b->key_password);
}

static const char *format(const char *text, ...) __attribute__((format(printf, 1, 2)));

static const char *format(const char *text, ...)
{
    char *out;
    va_list args;
    va_start(args, text);
    if (vasprintf(&out, text, args) < 0)
        fail_msg("out of memory");
    va_end(args);
    return test_keep(out);
}

const char *secure_password(const struct secure_broker *b, const char *mechanism, const char *password,
                            const char *ca)
{
    static int count;
    const char *file = test_write(test_path(format("password-%d", ++count)), password);
    return format("  security.protocol: SASL_SSL\n  sasl.mechanisms: %s\n  sasl.username: worker\n"
                  "  sasl.password_file: %s\n  ssl.ca.location: %s/%s.crt\n",
                  mechanism, file, b->certs, ca);
}

const char *secure_certificate(const struct secure_broker *b, const char *user)
{
    const char *own = user ? format("  ssl.certificate.location: %s/%s.crt\n  ssl.key.location: %s/%s.key\n"
                                    "  ssl.key.password_file: %s/key.password\n",
                                    b->certs, user, b->certs, user, b->certs)
                           : "";
    return format("  security.protocol: SSL\n  ssl.ca.location: %s/ca.crt\n%s", b->certs, own);
}

/* ---- ACLs: three requests of Kafka's protocol, as librdkafka 2.0.2 knows no ACLs of transactional ids ---- */

enum { DESCRIBE_ACLS = 29, CREATE_ACLS = 30, DELETE_ACLS = 31, LITERAL = 3, PREFIXED = 4, ALLOW = 3 };

struct message {
    unsigned char bytes[2000];
    size_t size;
};

static void put(struct message *m, int bytes, long value)
{
    assert_true(m->size + (size_t)bytes <= sizeof m->bytes);
    for (int i = bytes; i-- > 0;)
        m->bytes[m->size++] = (unsigned char)(value >> 8 * i);
}

static void put_text(struct message *m, const char *text)
{
    put(m, 2, (long)strlen(text));
    for (; *text; text++)
        put(m, 1, (unsigned char)*text);
}

static long number(const struct message *m, size_t at, int bytes)
{
    long value = 0;
    assert_true(at + (size_t)bytes <= m->size);
    for (int i = 0; i < bytes; i++)
        value = value << 8 | m->bytes[at + (size_t)i];
    return value;
}

/* Sends version 1 of the request, with one ACL or a filter that fits one, and reads the answer behind its correlation id. */
static void ask(const struct secure_broker *b, int api, const struct acl *a, struct message *answer)
{
    struct message m = {.size = 4};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = 0};
    put(&m, 2, api);
    put(&m, 2, 1);
    put(&m, 4, 7);
    put_text(&m, "test");
    if (api != DESCRIBE_ACLS)
        put(&m, 4, 1); /* how many */
    put(&m, 1, a->type);
    put_text(&m, a->name);
    put(&m, 1, a->prefixed ? PREFIXED : LITERAL);
    put_text(&m, "User:worker");
    put_text(&m, "*");
    put(&m, 1, a->operation);
    put(&m, 1, ALLOW);
    size_t size = m.size;
    m.size = 0;
    put(&m, 4, (long)size - 4);

    to.sin_port = htons((uint16_t)atoi(strchr(b->plain.bootstrap, ':') + 1));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) || write(fd, m.bytes, size) != (ssize_t)size)
        fail_msg("%s: %s", b->plain.bootstrap, strerror(errno));
    answer->size = 8;
    if (recv(fd, answer->bytes, 8, MSG_WAITALL) != 8 || number(answer, 4, 4) != 7)
        fail_msg("%s gave no answer", b->plain.bootstrap);
    answer->size = (size_t)number(answer, 0, 4) - 4;
    assert_true(answer->size <= sizeof answer->bytes);
    assert_int_equal(recv(fd, answer->bytes, answer->size, MSG_WAITALL), answer->size);
    close(fd);
}

struct shown {
    const struct secure_broker *b;
    const struct acl *acl;
    bool wanted;
};

/* throttle time, error, its text (null), how many resources */
static bool is_shown(void *context)
{
    struct shown *s = context;
    struct message answer;
    ask(s->b, DESCRIBE_ACLS, s->acl, &answer);
    assert_int_equal(number(&answer, 4, 2), 0);
    return (number(&answer, 8, 4) > 0) == s->wanted;
}

/* throttle time, one result, its error */
static void set(const struct secure_broker *b, const struct acl *a, bool allow)
{
    struct message answer;
    struct shown shown = {b, a, allow};
    ask(b, allow ? CREATE_ACLS : DELETE_ACLS, a, &answer);
    assert_int_equal(number(&answer, 4, 4), 1);
    assert_int_equal(number(&answer, 8, 2), 0);
    if (!wait_until(is_shown, &shown, ADMIN_MS))
        fail_msg("%s: the broker does not show the change", a->name);
}

void secure_grant(const struct secure_broker *b, const struct acl *acl)
{
    set(b, acl, true);
}

void secure_revoke(const struct secure_broker *b, const struct acl *acl)
{
    set(b, acl, false);
}
