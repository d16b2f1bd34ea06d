/* The translation of librdkafka's errors where no broker is needed to make them. What transaction calls return:
 * mock_test.c. */
#include "worker/stream/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#undef fail
#include <cmocka.h>

static void a_timeout_says_what_was_refused(void **state)
{
    static const struct {
        rd_kafka_resp_err_t seen;
        const char *text;
        enum fail_code code;
        bool hint;
    } cases[] = {
        {RD_KAFKA_RESP_ERR__AUTHENTICATION, "invalid credentials with SASL mechanism SCRAM-SHA-256", E_DENIED,
         true},
        {RD_KAFKA_RESP_ERR__AUTHENTICATION, "invalid credentials with SASL mechanism PLAIN", E_DENIED, false},
        {RD_KAFKA_RESP_ERR__TRANSPORT, "connection refused", E_UNREACHABLE, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client c = {
            .kind = CLIENT_MEMBER, /* which is not asked for news: there is no librdkafka behind it */
            .lock = PTHREAD_MUTEX_INITIALIZER,
            .refused = cases[i].seen == RD_KAFKA_RESP_ERR__AUTHENTICATION};
        struct fail why;
        snprintf(c.last_text, sizeof c.last_text, "%s", cases[i].text);
        assert_int_equal(client_fail(&c, RD_KAFKA_RESP_ERR__TIMED_OUT, &why, "topics"), -(int)cases[i].code);
        assert_non_null(strstr(why.text, cases[i].text));
        bool old = rd_kafka_version() < 0x020601ff; /* the one that cannot */
        assert_int_equal(strstr(why.text, "newer librdkafka") != NULL, cases[i].hint && old);
    }
}

static void errors_have_the_class_of_the_table(void **state)
{
    static const struct {
        rd_kafka_resp_err_t err;
        enum fail_code code;
    } cases[] = {
        {RD_KAFKA_RESP_ERR__AUTHENTICATION, E_DENIED},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, E_DENIED},
        {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, E_DENIED},
        {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, E_UNREACHABLE},
        {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, E_UNREACHABLE},
        {RD_KAFKA_RESP_ERR__FENCED, E_FENCED},
        {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, E_FENCED},
        {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, E_FENCED},
        {RD_KAFKA_RESP_ERR__FATAL, E_REBUILD},
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, E_FAILED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fail why;
        assert_int_equal(client_fail(NULL, cases[i].err, &why, "doing %d", 7), -(int)cases[i].code);
        assert_int_equal(strncmp(why.text, "doing 7: ", 9), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timeout_says_what_was_refused),
        cmocka_unit_test(errors_have_the_class_of_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
