/* JSON strings and numbers, base64, numbers for people: no state, no allocation.
 * Next to read: text.h. */
#include "worker/service/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 sequence at `at`; 0: it is none (overlong forms, surrogates and beyond U+10FFFF too).
 */
static size_t utf8_length(const unsigned char *at, const unsigned char *end)
{
    static const unsigned smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (at[0] < 0x80)
        return 1;
    size_t n = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc2 ? 2 : 0;
    if (!n || at[0] > 0xf4 || (size_t)(end - at) < n)
        return 0;
    unsigned code = at[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3fu);
    }
    return code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

bool text_is_utf8(const void *bytes, size_t size)
{
    const unsigned char *at = bytes, *end = at + size;
    while (at < end) {
        size_t n = utf8_length(at, end);
        if (!n)
            return false;
        at += n;
    }
    return true;
}

size_t text_escape(const char **at, const char *end, char out[TEXT_ESCAPE])
{
    const unsigned char *c = (const unsigned char *)*at;
    size_t n = utf8_length(c, (const unsigned char *)end);
    *at += n ? n : 1;
    if (!n)
        return (size_t)snprintf(out, TEXT_ESCAPE, "\\ufffd");
    if (*c == '"' || *c == '\\')
        return (size_t)snprintf(out, TEXT_ESCAPE, "\\%c", *c);
    if (*c == '\n')
        return (size_t)snprintf(out, TEXT_ESCAPE, "\\n");
    if (*c < 0x20 || *c == 0x7f)
        return (size_t)snprintf(out, TEXT_ESCAPE, "\\u%04x", *c);
    memcpy(out, c, n);
    return n;
}

void text_print_json(const void *bytes, size_t size, FILE *out)
{
    const char *at = bytes, *end = at + size;
    putc('"', out);
    while (at < end) {
        char piece[TEXT_ESCAPE];
        fwrite(piece, 1, text_escape(&at, end, piece), out);
    }
    putc('"', out);
}

void text_print_base64(const void *bytes, size_t size, FILE *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = bytes;
    for (size_t i = 0; i < size; i += 3) {
        unsigned v = (unsigned)b[i] << 16 | (i + 1 < size ? (unsigned)b[i + 1] << 8 : 0) |
                     (i + 2 < size ? b[i + 2] : 0u);
        putc(letters[v >> 18], out);
        putc(letters[v >> 12 & 63], out);
        putc(i + 1 < size ? letters[v >> 6 & 63] : '=', out);
        putc(i + 2 < size ? letters[v & 63] : '=', out);
    }
}

static const char *skip_digits(const char *c)
{
    while (isdigit((unsigned char)*c))
        c++;
    return c;
}

bool text_is_number(const char *text)
{
    const char *c = text + (*text == '-');
    if (!isdigit((unsigned char)*c) || (*c == '0' && isdigit((unsigned char)c[1])))
        return false;
    c = skip_digits(c);
    if (*c == '.') {
        const char *fraction = c + 1;
        c = skip_digits(fraction);
        if (c == fraction)
            return false;
    }
    if (*c == 'e' || *c == 'E') {
        const char *digits = c + 1 + (c[1] == '+' || c[1] == '-');
        c = skip_digits(digits);
        if (c == digits)
            return false;
    }
    return !*c;
}

bool text_to_int(const char *text, int64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)text[*text == '-']))
        return false; /* strtoll would take spaces and a plus */
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || *end)
        return false;
    *out = v;
    return true;
}

const char *text_count(int64_t n, char *out, size_t size)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n);
    size_t used = 0;
    for (int i = 0; i < length && used + 2 < size; i++) {
        if (i > (n < 0) && (length - i) % 3 == 0)
            out[used++] = ' ';
        out[used++] = digits[i];
    }
    out[used] = 0;
    return out;
}

const char *text_bytes(double n, char *out, size_t size)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t u = 0;
    for (; n >= 1000 && u + 1 < sizeof units / sizeof *units; u++)
        n /= 1000;
    snprintf(out, size, n < 10 && u ? "%.1f %s" : "%.0f %s", n, units[u]);
    return out;
}

const char *text_seconds(double s, char *out, size_t size)
{
    if (!(s >= 0 && s < 3600 * 1000.0))
        snprintf(out, size, "-");
    else if (s < 60)
        snprintf(out, size, s < 10 ? "%.1fs" : "%.0fs", s);
    else if (s < 3600)
        snprintf(out, size, "%dm %02ds", (int)s / 60, (int)s % 60);
    else
        snprintf(out, size, "%dh %02dm", (int)s / 3600, (int)s / 60 % 60);
    return out;
}
