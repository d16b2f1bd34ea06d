/* Which format a file is of, limits, colours. Decoding is image_jpeg.c and image_png.c, resizing image_resize.c. */
#include "worker/codec/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/image_parts.h"

static const struct format {
    const char *magic;
    size_t size;
    int (*decode)(struct image_decoder *d, struct span file, struct fail *why);
} formats[] = {
    {"\xff\xd8\xff", 3, image_jpeg},
    {"\x89PNG\r\n\x1a\n", 8, image_png},
};

void image_decoder_free(struct image_decoder *d)
{
    free(d->pixels);
    free(d->columns);
    free(d->weights);
    *d = (struct image_decoder){0};
}

void *image_reserve(void *old, size_t *capacity, size_t size, struct fail *why)
{
    if (size <= *capacity)
        return old;
    free(old); /* no copy: what was in it is of another image */
    void *new = malloc(size);
    *capacity = new ? size : 0;
    if (!new)
        fail(why, E_MEMORY, "an image of %zu bytes", size);
    return new;
}

int image_admit(struct image_decoder *d, int64_t width, int64_t height, struct fail *why)
{
    if (width < 1 || height < 1 || width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE ||
        width * height > IMAGE_MAX_PIXELS)
        return fail(why, E_BAD_IMAGE,
                    "%" PRId64 " x %" PRId64 ", expected at most %d a side and %d pixels in all", width,
                    height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS);
    if (width * height > d->budget)
        return fail(why, E_BAD_IMAGE,
                    "the images of this record hold more than %d pixels: send fewer a record",
                    IMAGE_RECORD_PIXELS);
    d->budget -= width * height;
    d->width = (int)width;
    d->height = (int)height;
    d->pixels = image_reserve(d->pixels, &d->pixel_capacity, (size_t)width * (size_t)height * 3, why);
    return d->pixels ? 0 : -E_MEMORY;
}

static int decode(struct image_decoder *d, struct span file, struct fail *why)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (file.size >= formats[i].size && memcmp(file.data, formats[i].magic, formats[i].size) == 0)
            return formats[i].decode(d, file, why);
    return fail(why, E_BAD_IMAGE, "%zu bytes that begin as neither JPEG nor PNG", file.size);
}

/* luma(R, G, B) = (19595 R + 38470 G + 7471 B + 32768) >> 16, in place; the weights sum up to 65536 */
static void to_luma(struct image_decoder *d)
{
    size_t count = (size_t)d->width * (size_t)d->height;
    for (size_t i = 0; i < count; i++) {
        const unsigned char *p = d->pixels + 3 * i;
        d->pixels[i] = (unsigned char)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
    }
}

bool image_fits(struct shape row)
{
    return row.rank == 3 && (row.dim[0] == 1 || row.dim[0] == 3) && row.dim[1] >= 1 && row.dim[2] >= 1 &&
           row.dim[1] <= IMAGE_MAX_SIDE && row.dim[2] <= IMAGE_MAX_SIDE;
}

int image_decode(struct image_decoder *d, struct span file, struct shape row, unsigned char *out,
                 struct fail *why)
{
    char text[128];
    if (!image_fits(row))
        return fail(why, E_BAD_IMAGE, "the model takes rows of %s; images make [1 or 3, H, W]",
                    shape_text(row, text, sizeof text));
    int rc = decode(d, file, why);
    if (rc)
        return rc;
    if (row.dim[0] == 1)
        to_luma(d);
    return image_resize(d, (int)row.dim[0], (int)row.dim[2], (int)row.dim[1], out, why);
}

int image_resize_planes(struct image_decoder *d, const unsigned char *planes, struct shape from,
                        struct shape to, unsigned char *out, struct fail *why)
{
    int64_t channels = from.dim[0], height = from.dim[1], width = from.dim[2], plane = height * width;
    if (from.rank != 3 || to.rank != 3 || to.dim[0] != channels || height < 1 || width < 1 ||
        height > IMAGE_MAX_SIDE || width > IMAGE_MAX_SIDE || plane * channels > 3 * (int64_t)IMAGE_MAX_PIXELS)
        return fail(why, E_BAD_IMAGE, "a row of %" PRId64 " x %" PRId64 " pixels cannot be resized", width,
                    height);
    d->width = (int)width;
    d->height = (int)height;
    d->pixels = image_reserve(d->pixels, &d->pixel_capacity, (size_t)(plane * channels), why);
    if (!d->pixels)
        return -E_MEMORY;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < plane; i++)
            d->pixels[i * channels + c] = planes[c * plane + i];
    return image_resize(d, (int)channels, (int)to.dim[2], (int)to.dim[1], out, why);
}
