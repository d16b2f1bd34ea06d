/* libFuzzer target for JPEG and PNG: `make fuzz-image`. The first byte chooses the row that is wanted, the rest is the file. Most
 * changes to a PNG die at a checksum, so changed files get right ones. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "worker/codec/image.h"

enum { PIXELS = 1 << 18 }; /* a budget that keeps a run fast; how it is kept is the decoder's own code */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Holds in every build: a failed promise must stop the fuzzer. */
static void must(bool promise)
{
    if (!promise)
        abort();
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Every chunk of a PNG that is whole gets its checksum. */
static void sign(uint8_t *file, size_t size)
{
    for (size_t at = 8; size >= 12 && at <= size - 12;) {
        size_t length = get32(file + at);
        if (length > size - 12 - at)
            return;
        uint32_t sum = (uint32_t)crc32(0, file + at + 4, (unsigned)length + 4);
        for (int i = 0; i < 4; i++)
            file[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
        at += 12 + length;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, most);
    if (seed % 8 && size > 9 && memcmp(data + 1, "\x89PNG", 4) == 0)
        sign(data + 1, size - 1);
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct shape rows[] = {{.rank = 3, .dim = {3, 32, 32}},
                                        {.rank = 3, .dim = {1, 28, 28}},
                                        {.rank = 3, .dim = {3, 1, 50}},
                                        {.rank = 3, .dim = {2, 5, 5}}};
    struct image_decoder d = {0};
    if (size == 0)
        return 0;
    struct shape row = rows[data[0] % 4];
    struct span file = {(const char *)data + 1, size - 1};
    size_t bytes = (size_t)shape_size(row);
    unsigned char *first = malloc(bytes), *second = malloc(bytes);
    memset(first, 0, bytes);
    memset(second, 255, bytes);
    struct fail why = {0};
    d.budget = PIXELS;
    int rc = image_decode(&d, file, row, first, &why);
    must(rc == 0 || (rc == -(int)why.code && why.code == E_BAD_IMAGE));
    d.budget = PIXELS;
    must(image_decode(&d, file, row, second, &why) == rc); /* in the memory that the first one left */
    must(rc || memcmp(first, second, bytes) == 0);         /* every byte was written, and the same */
    image_decoder_free(&d);
    free(first);
    free(second);
    return 0;
}
