/* A real Kafka that asks who comes and does only what ACLs allow (compose/kafka/kafka up --secure). Everything here fails the
 * running cmocka test when it cannot do its work. */
#ifndef TESTS_LIB_SECURE_H
#define TESTS_LIB_SECURE_H

#include "tests/lib/broker.h"

struct secure_broker {
    struct broker plain;            /* its address is the administrator's */
    char sasl[256], tls[256];       /* the other two */
    char certs[300], password[100]; /* of the user "worker" */
    char key_password[100];         /* of its key, and the intruder's */
};

void secure_up(struct secure_broker *b);

/* Lines for stage_settings.kafka, with the secrets in files; user: whose certificate. They live as long as the program. */
const char *secure_password(const struct secure_broker *b, const char *mechanism, const char *password,
                            const char *ca);
const char *secure_certificate(const struct secure_broker *b, const char *user);

/* The numbers of Kafka's protocol. */
enum acl_type { ACL_TOPIC = 2, ACL_GROUP = 3, ACL_TRANSACTIONAL_ID = 5 };
enum acl_operation { ACL_READ = 3, ACL_WRITE = 4 };

struct acl {
    enum acl_type type;
    char name[300];
    bool prefixed;
    enum acl_operation operation;
};

/* Gives the user "worker" the right or takes it; returns when the broker acts by it. */
void secure_grant(const struct secure_broker *b, const struct acl *acl);
void secure_revoke(const struct secure_broker *b, const struct acl *acl);

#endif
