/* Parses how a model is named. Whether there is such a model is the model registry's affair (worker/models).
 */
#include "worker/codec/model_spec.h"

#include <string.h>

enum { NAME_MAX_BYTES = 100 };

static bool letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

bool model_name_valid(struct span name)
{
    size_t dots = 0;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (!letter(c) && !digit(c) && c != '.' && c != '_' && c != '-')
            return false;
        dots += c == '.';
    }
    return name.size >= 1 && name.size <= NAME_MAX_BYTES && dots < name.size;
}

bool model_alias_valid(struct span alias)
{
    return model_name_valid(alias) && letter(alias.data[0]);
}

/* At most 18 digits, so that it cannot overflow; 0: not a version. */
static int64_t version_parse(struct span s)
{
    int64_t v = 0;
    if (s.size > 18)
        return 0;
    for (size_t i = 0; i < s.size; i++) {
        if (!digit(s.data[i]))
            return 0;
        v = v * 10 + (s.data[i] - '0');
    }
    return v;
}

int model_spec_parse(struct model_spec *out, struct span text, struct fail *why)
{
    *out = (struct model_spec){.name = text};
    const char *at = text.size ? memchr(text.data, '@', text.size) : NULL;
    int shown = text.size < 120 ? (int)text.size : 120;
    if (at)
        out->name.size = (size_t)(at - text.data);
    if (!model_name_valid(out->name))
        return fail(why, E_BAD_REQUEST, "model: \"%.*s\" is no model name: expected " MODEL_NAME_RULE, shown,
                    text.data ? text.data : "");
    if (!at)
        return 0;
    struct span rest = {at + 1, text.size - out->name.size - 1};
    out->version = version_parse(rest);
    if (out->version)
        return 0;
    if (!model_alias_valid(rest))
        return fail(
            why, E_BAD_REQUEST,
            "model: \"%.*s\": expected a version from 1 or an alias (it begins with a letter) behind @",
            shown, text.data);
    out->alias = rest;
    return 0;
}
