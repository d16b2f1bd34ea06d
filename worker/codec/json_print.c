/* Any record as JSON by its schema. Avro C decodes, so that what our encoders write is read by somebody
 * else's code; our validator goes first, because Avro C accepts out-of-range enums and trailing bytes and
 * loops on some input. Next to read: json_parse.c, the other way. */
#include <avro.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/base64.h"
#include "worker/codec/wire.h"

static void print_value(struct bytes *to, avro_value_t *v);

static void print_text(struct bytes *to, const char *text)
{
    bytes_put(to, text, strlen(text));
}

/* A JSON string; the text is valid UTF-8 and stays as it is but for quotes, backslashes and controls. */
static void print_string(struct bytes *to, const char *s, size_t size)
{
    print_text(to, "\"");
    size_t from = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)s[i];
        char escape[8];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        bytes_put(to, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", c);
        else if (c == '\n')
            snprintf(escape, sizeof escape, "\\n");
        else
            snprintf(escape, sizeof escape, "\\u%04x", c);
        print_text(to, escape);
    }
    bytes_put(to, s + from, size - from);
    print_text(to, "\"");
}

/* The shortest decimal that reads back as the same number. */
static void print_double(struct bytes *to, double v, int digits, int most, bool single)
{
    char text[40];
    if (!isfinite(v)) {
        print_text(to, "null");
        return;
    }
    do {
        snprintf(text, sizeof text, "%.*g", digits, v);
        double again = strtod(text, NULL);
        if (again == v || (single && strtof(text, NULL) == (float)v))
            break;
    } while (++digits <= most);
    print_text(to, text);
    if (!strpbrk(text, ".e")) /* a whole number stays one with a point, for readers that care */
        print_text(to, ".0");
}

static void print_number(struct bytes *to, avro_value_t *v)
{
    int32_t i = 0;
    int64_t l = 0;
    float f = 0;
    double d = 0;
    char text[32];
    switch (avro_value_get_type(v)) {
    case AVRO_INT32:
        avro_value_get_int(v, &i);
        snprintf(text, sizeof text, "%" PRId32, i);
        print_text(to, text);
        break;
    case AVRO_INT64:
        avro_value_get_long(v, &l);
        snprintf(text, sizeof text, "%" PRId64, l);
        print_text(to, text);
        break;
    case AVRO_FLOAT:
        avro_value_get_float(v, &f);
        print_double(to, (double)f, 6, 9, true);
        break;
    default:
        avro_value_get_double(v, &d);
        print_double(to, d, 15, 17, false);
    }
}

static void print_plain(struct bytes *to, avro_value_t *v)
{
    const char *s = "";
    const void *data = NULL;
    size_t size = 0;
    int n = 0;
    switch (avro_value_get_type(v)) {
    case AVRO_STRING:
        avro_value_get_string(v, &s, &size); /* the size counts the 0 behind */
        print_string(to, s, size ? size - 1 : 0);
        break;
    case AVRO_BYTES:
        avro_value_get_bytes(v, &data, &size);
        print_text(to, "\"");
        base64_put(to, data, size);
        print_text(to, "\"");
        break;
    case AVRO_BOOLEAN:
        avro_value_get_boolean(v, &n);
        print_text(to, n ? "true" : "false");
        break;
    case AVRO_ENUM:
        avro_value_get_enum(v, &n);
        s = avro_schema_enum_get(avro_value_get_schema(v), n);
        print_string(to, s, strlen(s));
        break;
    default:
        print_text(to, "null");
    }
}

/* The pieces of a record, map or array between their brackets. */
static void print_pieces(struct bytes *to, avro_value_t *v, bool named)
{
    size_t n = 0;
    avro_value_get_size(v, &n);
    print_text(to, named ? "{" : "[");
    for (size_t i = 0; i < n; i++) {
        avro_value_t child;
        const char *name = NULL;
        avro_value_get_by_index(v, i, &child, &name);
        if (i)
            print_text(to, ",");
        if (named) {
            print_string(to, name, strlen(name));
            print_text(to, ":");
        }
        print_value(to, &child);
    }
    print_text(to, named ? "}" : "]");
}

static void print_value(struct bytes *to, avro_value_t *v)
{
    avro_value_t branch;
    switch (avro_value_get_type(v)) {
    case AVRO_RECORD:
    case AVRO_MAP:
        print_pieces(to, v, true);
        break;
    case AVRO_ARRAY:
        print_pieces(to, v, false);
        break;
    case AVRO_UNION:
        avro_value_get_current_branch(v, &branch);
        print_value(to, &branch);
        break;
    case AVRO_INT32:
    case AVRO_INT64:
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
        print_number(to, v);
        break;
    default:
        print_plain(to, v);
    }
}

/* Is the record well formed, whatever the contract says of its content? */
static int check_form(const struct record_type *t, struct span value, struct fail *why)
{
    struct fail verdict;
    int rc = t->validate(value, &verdict);
    if (rc == 0 || rc == -E_BAD_REQUEST || rc == -E_BAD_SHAPE || rc == -E_BAD_DTYPE)
        return 0;
    return fail(why, verdict.code, "%s", verdict.text);
}

static int print_record(struct bytes *to, const char *schema_text, struct span value, struct fail *why)
{
    int rc = -E_BAD_AVRO;
    avro_schema_t schema = NULL;
    avro_value_iface_t *class = NULL;
    avro_value_t v = {0};
    avro_reader_t reader = avro_reader_memory(value.data, (int64_t)value.size);
    if (!reader || avro_schema_from_json_length(schema_text, strlen(schema_text), &schema) ||
        !(class = avro_generic_class_from_schema(schema)) || avro_generic_value_new(class, &v)) {
        fail(why, E_MEMORY, "Avro: %s", avro_strerror());
        rc = -E_MEMORY;
        goto out;
    }
    if (avro_value_read(reader, &v)) {
        fail(why, E_BAD_AVRO, "Avro C does not read it: %s", avro_strerror());
        goto out;
    }
    print_value(to, &v);
    rc = to->failed ? fail(why, E_MEMORY, "no memory for a record's JSON") : 0;
out:
    if (v.iface)
        avro_value_decref(&v);
    if (class)
        avro_value_iface_decref(class);
    if (schema)
        avro_schema_decref(schema);
    if (reader)
        avro_reader_free(reader);
    return rc;
}

int record_print_json(struct bytes *to, const struct record_type *t, int version, struct span value,
                      struct fail *why)
{
    const char *schema = record_schema(t, version);
    if (!schema)
        return fail(why, E_UNKNOWN_SCHEMA, "%s has no schema version %d", t->name, version);
    int rc = check_form(t, value, why);
    return rc ? rc : print_record(to, schema, value, why);
}
