/* UTF-8 as Unicode's table 3-7 has it: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#include "worker/codec/wire.h"

#include <string.h>

/* Bytes of the well-formed sequence at s, 0: none. */
static size_t utf8_step(const unsigned char *s, size_t size)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t n;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        n = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        n = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        n = 4;
    else
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (size < n || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

bool utf8_valid(const unsigned char *s, size_t size)
{
    size_t i = 0;
    while (i < size) {
        uint64_t eight;
        if (size - i >= sizeof eight) { /* names are mostly ASCII: eight at a time */
            memcpy(&eight, s + i, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                i += sizeof eight;
                continue;
            }
        }
        size_t n = utf8_step(s + i, size - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}
