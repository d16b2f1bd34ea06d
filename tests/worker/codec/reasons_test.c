/* What is wrong with a record, and the reason its dead letter carries. Each row writes one record that is
 * wrong in one way; the text must say where. */
#include "worker/codec/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* behind our headers: it has a macro called fail */

#define SHA    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TENSOR "{\"dtype\":\"UINT8\",\"shape\":[2,1,1,2],\"data\":\"AAAAAA==\"}" /* 4 bytes */

/* As JSON, where the record is well formed and the contract refuses it. */
static const struct {
    const char *type, *json;
    enum fail_code code;
    const char *where; /* the text begins with it */
} refused[] = {
    {"InferenceBatch", "{'id':'','model':'m','tensors':[T]}", E_BAD_REQUEST, "id: "},
    {"InferenceBatch", "{'id':'r','model':'m'}", E_BAD_REQUEST, "tensors: 0 of"},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[T,T]}", E_BAD_REQUEST, "tensors: 2 tensors"},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[T],'images':{'images':['']}}", E_BAD_REQUEST,
     "tensors: 2 of"},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[T],'top_k':-1}", E_BAD_REQUEST, "top_k: is -1"},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[T],'row_ids':['a']}", E_BAD_REQUEST,
     "row_ids: 1 of"},
    {"InferenceBatch", "{'id':'r','model':'m','images':{'images':['','']},'row_ids':['a']}", E_BAD_REQUEST,
     "row_ids: 1 of"},
    {"InferenceBatch",
     "{'id':'r','model':'m','external':{'uri':'','sha256':'S','tensor':{'shape':[1],'data':''}}}",
     E_BAD_REQUEST, "external.uri: "},
    {"InferenceBatch",
     "{'id':'r','model':'m','external':{'uri':'u','sha256':'ab','tensor':{'shape':[1],'data':''}}}",
     E_BAD_REQUEST, "external.sha256: "},
    {"InferenceBatch", "{'id':'r','model':'m','external':{'uri':'u','sha256':'S','tensor':T}}", E_BAD_REQUEST,
     "external.tensor.data: "},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[{'shape':[],'data':''}]}", E_BAD_SHAPE,
     "tensors[0].shape: "},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[{'shape':[1,1,1,1,1,1,1,1,1],'data':'AAAAAA=='}]}",
     E_BAD_SHAPE, "tensors[0].shape: "},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[{'shape':[-1,-1],'data':'AAAAAA=='}]}", E_BAD_SHAPE,
     "tensors[0].shape: "},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[{'shape':[4294967296,4294967296],'data':''}]}",
     E_BAD_SHAPE, "tensors[0].shape: "},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[{'shape':[0,9223372036854775807,9],'data':'AA=='}]}",
     E_BAD_SHAPE, "tensors[0]."},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[{'shape':[2],'data':'AAAAAA=='}]}", E_BAD_SHAPE,
     "tensors[0].data: 4 bytes"},
    {"InferenceBatch", "{'id':'r','model':'m','tensors':[{'dtype':'UNKNOWN','shape':[2],'data':'AAAAAA=='}]}",
     E_BAD_DTYPE, "tensors[0].dtype: "},
    {"Sample", "{}", E_BAD_REQUEST, "tensors: none"},
    {"Sample", "{'tensors':[T,T]}", E_BAD_REQUEST, "tensors: 2"},
    {"Sample", "{'tensors':[T],'images':{'images':[]}}", E_BAD_REQUEST, "tensors: both"},
    {"Sample", "{'tensors':[T],'labels':[1]}", E_BAD_REQUEST, "labels: 1 of"},
    {"Sample", "{'tensors':[T],'row_ids':['a','b','c']}", E_BAD_REQUEST, "row_ids: 3 of"},
    {"Sample", "{'tensors':[T],'labels':[1,2],'targets':T}", E_BAD_REQUEST, "labels: "},
    {"Sample", "{'tensors':[T],'targets':{'shape':[1],'data':'AAAAAA=='}}", E_BAD_SHAPE, "targets.shape: "},
    {"Sample", "{'tensors':[T],'targets':{'dtype':'UNKNOWN','shape':[2],'data':''}}", E_BAD_DTYPE,
     "targets.dtype"},
    {"Prediction", "{'id':'r','model':'m','version':1,'rows':[],'outputs':[{'shape':[3],'data':''}]}",
     E_BAD_SHAPE, "outputs[0].tensor.data: "},
    {"TrainingJob", "{'job_id':'','model':'m'}", E_BAD_REQUEST, "job_id: is empty"},
    {"TrainingJob", "{'job_id':'j','model':'../../etc'}", E_BAD_REQUEST, "model: "},
    {"TrainingJob", "{'job_id':'j','model':'..'}", E_BAD_REQUEST, "model: "},
    {"TrainingJob", "{'job_id':'j\\u0000x','model':'m'}", E_BAD_REQUEST, "job_id: holds a zero byte"},
    {"TrainingJob", "{'job_id':'j','model':'m','labels':['a','b\\u0000']}", E_BAD_REQUEST,
     "labels[1].item: holds"},
    {"LossMetric", "{'job_id':'','model':'m','sequence':0,'state':'FAILED'}", E_BAD_REQUEST, "job_id: "},
    {"JobCheckpoint", "{'job_id':'','model':'m','sequence':0,'step':0,'state':'FAILED'}", E_BAD_REQUEST,
     "job_id: "},
    {"ModelVersionEvent", "{'event_id':'e','event':'CREATED','model':'a b','version':1}", E_BAD_REQUEST,
     "model: "},
    {"ModelVersionEvent",
     "{'event_id':'e','event':'CREATED','model':'m','version':1,'input':{'shape':[1,1,1,1,1,1,1,1,1]}}",
     E_BAD_SHAPE, "input.shape: has more than 8"},
};

/* The rows' shorthand to JSON: ' is ", T a tensor, S a sha256. */
static char *expand(const char *s)
{
    char *out = calloc(1, strlen(s) * 80);
    for (char *to = out; *s; s++) {
        bool alone = !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz=", s[1]);
        if (*s == 'T' && strchr("[,:", s[-1]) && alone)
            to = stpcpy(to, TENSOR);
        else if (*s == 'S' && s[-1] == '\'' && s[1] == '\'')
            to = stpcpy(to, SHA);
        else
            *to++ = *s == '\'' ? '"' : *s;
    }
    return out;
}

static void expect(const struct record_type *t, const void *data, size_t size, enum fail_code code,
                   const char *where, const char *row)
{
    struct fail why = {0};
    char *exact = malloc(size); /* of its own size, so that a sanitizer sees a byte too far */
    memcpy(exact, data, size);
    int rc = t->validate((struct span){exact, size}, &why);
    if (rc != -(int)code || (rc && why.code != code) || strncmp(why.text, where, strlen(where)) != 0)
        fail_msg("%s: expected %s \"%s...\", got %s \"%s\"", row, fail_name(code), where,
                 fail_name((enum fail_code) - rc), why.text);
    free(exact);
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct record_type *t = record_type_find(refused[i].type);
        char *json = expand(refused[i].json);
        struct bytes to = {0}, text = {0};
        struct fail why = {0};
        if (record_parse_json(&to, t, json, strlen(json), &why))
            fail_msg("%s: %s", json, why.text);
        expect(t, to.data, to.size, refused[i].code, refused[i].where, json);
        if (record_print_json(&text, t, 1, (struct span){(char *)to.data, to.size}, &why))
            fail_msg("%s: well formed, so it can be shown: %s", json, why.text);
        bytes_free(&to);
        bytes_free(&text);
        free(json);
    }
}

/* As bytes, where the record is no Avro. A good InferenceBatch, piece by piece, and what replaces a piece:
 *   id, model, count of tensors, name, dtype, shape, data, end of tensors, images, external, row_ids,
 *   created_at, deadline_at, top_k, return_outputs, explain, parameters */
#define PIECES 17
static const char *const good[PIECES] = {"02 72",    "02 6d", "02", "00", "04", "02 04 00",
                                         "04 07 08", "00",    "00", "00", "00", "00",
                                         "00",       "02",    "00", "00", "00"};

static const struct {
    int piece;
    const char *bytes; /* hexadecimal; nothing follows after a '|' */
    enum fail_code code;
    const char *where;
} broken[] = {
    {0, "01", E_BAD_AVRO, "id: a length of -1"},
    {0, "ffffffffffffffffff01", E_BAD_AVRO, "id: a length of -9223372036854775808"},
    {0, "ffffffffffffffffff02", E_BAD_AVRO, "id: a number has more than 64 bits"},
    {0, "8080808080808080808000", E_BAD_AVRO, "id: a number has more than 64 bits"},
    {0, "ff|", E_TRUNCATED, "id: "},
    {0, "fe7f 61", E_TRUNCATED, "id: 8191 bytes announced"},
    {0, "feffffffffffffffff01", E_TRUNCATED, "id: 9223372036854775807 bytes announced"},
    {0, "02 80", E_BAD_AVRO, "id: not valid UTF-8"},
    {0, "04 c080", E_BAD_AVRO, "id: not valid UTF-8"},     /* overlong */
    {0, "06 e08080", E_BAD_AVRO, "id: not valid UTF-8"},   /* overlong, three bytes */
    {0, "08 f0808080", E_BAD_AVRO, "id: not valid UTF-8"}, /* overlong, four bytes */
    {0, "08 f48fbfbf", E_OK, ""},                          /* U+10FFFF */
    {0, "06 eda080", E_BAD_AVRO, "id: not valid UTF-8"},   /* surrogate */
    {0, "08 f4908080", E_BAD_AVRO, "id: not valid UTF-8"}, /* beyond U+10FFFF */
    {0, "04 61c3", E_BAD_AVRO, "id: not valid UTF-8"},     /* cut */
    {0, "14 61616161616161616161 ", E_OK, ""},             /* ten letters: the fast path */
    {0, "14 616161616161616161ff ", E_BAD_AVRO, "id: not"},
    {0, "8200 72", E_OK, ""}, /* a longer form of 1 is legal */
    {2, "fe7f", E_TRUNCATED, "tensors: 8191 items announced"},
    {2, "feffffffffffffffff01", E_TRUNCATED, "tensors: 9223372036854775807 items"},
    {2, "ffffffffffffffffff01 00", E_BAD_AVRO, "tensors: a block of -9223372036854775808 items"},
    {2, "01 10", E_OK, ""}, /* -1 item in 8 bytes */
    {2, "01 0e", E_BAD_AVRO, "tensors: a block's byte size is wrong"},
    {2, "01 03", E_BAD_AVRO, "tensors: a block of -1 items in -2 bytes"},
    {2, "01 fe7f", E_TRUNCATED, "tensors: a block of 8191 bytes"},
    {4, "16", E_BAD_AVRO, "tensors[0].dtype: enum index 11"},
    {4, "01", E_BAD_AVRO, "tensors[0].dtype: enum index -1"},
    {6, "7f 07 08", E_BAD_AVRO, "tensors[0].data: a length of -64"},
    {6, "fe7f 07 08", E_TRUNCATED, "tensors[0].data: "},
    {8, "04", E_BAD_AVRO, "images: union branch 2"},
    {8, "01", E_BAD_AVRO, "images: union branch -1"},
    {9, "06", E_BAD_AVRO, "external: union branch 3"},
    {10, "04 02 61 02 ff 00", E_BAD_AVRO, "row_ids: not valid UTF-8"},
    {12, "03", E_BAD_AVRO, "deadline_at: union branch -2"},
    {13, "8080808010", E_BAD_AVRO, "top_k: 2147483648 does not fit"},
    {13, "8180808010", E_BAD_AVRO, "top_k: -2147483649 does not fit"},
    {14, "02", E_BAD_AVRO, "return_outputs: a boolean"},
    {15, "ff", E_BAD_AVRO, "explain: a boolean"},
    {16, "02 02 6b", E_TRUNCATED, "parameters: "},
    {16, "02 02 6b 02 ff 00", E_BAD_AVRO, "parameters: not valid UTF-8"},
    {16, "00 00", E_TRAILING_BYTES, "1 bytes follow"},
};

static bool hex(struct bytes *to, const char *s)
{
    for (; *s && *s != '|'; s++) {
        char pair[3] = {s[0], s[0] == ' ' ? 0 : s[1], 0};
        if (*s == ' ')
            continue;
        unsigned char byte = (unsigned char)strtoul(pair, NULL, 16);
        bytes_put(to, &byte, 1);
        s++;
    }
    return *s == '|';
}

static void build(struct bytes *to, int piece, const char *instead)
{
    for (int i = 0; i < PIECES; i++)
        if (hex(to, i == piece ? instead : good[i]))
            return;
}

static void test_broken(void **state)
{
    const struct record_type *t = record_type_find("InferenceBatch");
    struct bytes to = {0};
    (void)state;
    build(&to, -1, "");
    expect(t, to.data, to.size, E_OK, "", "the good record");
    bytes_free(&to);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        build(&to, broken[i].piece, broken[i].bytes);
        expect(t, to.data, to.size, broken[i].code, broken[i].where, broken[i].bytes);
        bytes_free(&to);
    }
}

/* A break outranks a refusal, wherever it stands: id is empty and the end is missing. */
static void test_break_outranks_refusal(void **state)
{
    struct bytes to = {0};
    (void)state;
    build(&to, 0, "00");
    expect(record_type_find("InferenceBatch"), to.data, to.size, E_BAD_REQUEST, "id: ", "empty id");
    expect(record_type_find("InferenceBatch"), to.data, to.size - 1, E_TRUNCATED, "parameters: ", "and cut");
    bytes_free(&to);
}

static void test_frame(void **state)
{
    static const struct {
        struct span header;
        enum fail_code code;
    } rows[] = {
        {{NULL, 0}, E_OK},
        {{"1", 1}, E_OK},
        {{"", 0}, E_UNKNOWN_SCHEMA},
        {{"2", 1}, E_UNKNOWN_SCHEMA},
        {{"0", 1}, E_UNKNOWN_SCHEMA},
        {{"-1", 2}, E_UNKNOWN_SCHEMA},
        {{"1 ", 2}, E_UNKNOWN_SCHEMA},
        {{"one", 3}, E_UNKNOWN_SCHEMA},
        {{"99999999999999999999", 20}, E_UNKNOWN_SCHEMA},
        {{"1\0", 2}, E_UNKNOWN_SCHEMA},
    };
    const struct record_type *t = record_type_find("Sample");
    const struct span none = {NULL, 0}, value = {"abc", 3};
    struct span payload = none;
    struct fail why;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(record_unframe(value, rows[i].header, t, &payload, &why), -(int)rows[i].code);
    assert_int_equal(record_unframe(value, none, t, &payload, &why), 0);
    assert_ptr_equal(payload.data, value.data);
    assert_int_equal(payload.size, 3);
    assert_int_equal(record_unframe(none, none, t, &payload, &why), -E_EMPTY);
    assert_int_equal(record_unframe((struct span){"", 0}, none, t, &payload, &why), -E_EMPTY);
    assert_int_equal(record_unframe((struct span){"", (size_t)RECORD_MAX_BYTES + 1}, none, t, &payload, &why),
                     -E_TOO_LARGE);
}

static void test_table(void **state)
{
    (void)state;
    assert_null(record_type_find("Nothing"));
    assert_null(record_type_at(-1));
    assert_null(record_type_of_topic("dead-letters"));
    assert_ptr_equal(record_type_of_topic("predictions.shadow"), record_type_find("Prediction"));
    for (int i = 0; record_type_at(i); i++) {
        const struct record_type *t = record_type_at(i);
        assert_ptr_equal(record_type_find(t->name), t);
        assert_ptr_equal(record_type_of_topic(t->topic), t);
        for (int v = 1; v <= t->version; v++)
            assert_non_null(strstr(record_schema(t, v), t->name));
        assert_null(record_schema(t, 0));
        assert_null(record_schema(t, t->version + 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_break_outranks_refusal),
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
