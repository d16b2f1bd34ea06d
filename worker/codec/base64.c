/* Base64, strictly: no line ends, padding where it belongs. Where it stands in JSON is json_print.c's affair.
 */
#include "worker/codec/base64.h"

#include <string.h>

#include "worker/codec/wire.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Three bytes are four digits of six bits; a rest of one or two bytes is padded with '='. */
void base64_put(struct bytes *to, const void *data, size_t size)
{
    const unsigned char *p = data;
    unsigned char *out = size ? bytes_grow(to, (size + 2) / 3 * 4) : NULL;
    for (; out && size > 0; out += 4) {
        size_t n = size < 3 ? size : 3;
        unsigned v = (unsigned)p[0] << 16 | (n > 1 ? (unsigned)p[1] << 8 : 0) | (n > 2 ? p[2] : 0);
        out[0] = digits[v >> 18];
        out[1] = digits[v >> 12 & 63];
        out[2] = n > 1 ? digits[v >> 6 & 63] : '=';
        out[3] = n > 2 ? digits[v & 63] : '=';
        p += n;
        size -= n;
    }
}

/* The value of a digit; -1: none. */
static int digit_value(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

bool base64_read(struct bytes *to, const char *text, size_t size)
{
    if (size % 4)
        return false;
    for (size_t i = 0; i < size; i += 4) {
        size_t n = 3;
        unsigned v = 0;
        if (i + 4 == size)
            n -= (text[i + 3] == '=') + (size_t)(text[i + 3] == '=' && text[i + 2] == '=');
        for (size_t k = 0; k < 4; k++) {
            int d = k <= n ? digit_value(text[i + k]) : 0;
            if (d < 0)
                return false;
            v = v << 6 | (unsigned)d;
        }
        if ((n == 2 && v & 0xff) || (n == 1 && v & 0xffff)) /* bits that stand for nothing */
            return false;
        bytes_put(to, (unsigned char[]){(unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v},
                  n);
    }
    return true;
}
