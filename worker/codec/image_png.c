/* PNG through libspng, every checksum looked at, up to the file's last chunk. The only file with spng.h. */
#include <spng.h>
#include <stdlib.h>

#include "worker/codec/image_parts.h"

enum {
    CHUNK_BYTES = 1 << 22,
    CHUNKS_BYTES = 1 << 24
}; /* profiles and texts beside the pixels, one and all together */

static int png_read(spng_ctx *png, struct image_decoder *d, struct span file, int *rc, struct fail *why)
{
    struct spng_ihdr head;
    *rc = 0;
    int error = spng_set_image_limits(png, IMAGE_MAX_SIDE, IMAGE_MAX_SIDE);
    if (!error)
        error = spng_set_chunk_limits(png, CHUNK_BYTES, CHUNKS_BYTES);
    if (!error)
        error = spng_set_png_buffer(png, file.data, file.size);
    if (!error)
        error = spng_get_ihdr(png, &head);
    if (error || (*rc = image_admit(d, head.width, head.height, why)))
        return error;
    error = spng_decode_image(png, d->pixels, (size_t)d->width * (size_t)d->height * 3, SPNG_FMT_RGB8, 0);
    return error ? error : spng_decode_chunks(png); /* a file that ends before its end is damaged */
}

int image_png(struct image_decoder *d, struct span file, struct fail *why)
{
    int rc = 0;
    spng_ctx *png = spng_ctx_new(0);
    if (!png)
        return fail(why, E_MEMORY, "a PNG decoder");
    int error = png_read(png, d, file, &rc, why);
    if (error == SPNG_EMEM)
        rc = fail(why, E_MEMORY, "a PNG file of %zu bytes", file.size);
    else if (error)
        rc = fail(why, E_BAD_IMAGE, "PNG: %s", spng_strerror(error));
    spng_ctx_free(png);
    return rc;
}

int image_png_print(const unsigned char *rgb, int width, int height, void **bytes, size_t *size,
                    struct fail *why)
{
    struct spng_ihdr head = {.width = (uint32_t)width,
                             .height = (uint32_t)height,
                             .bit_depth = 8,
                             .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    if (!png)
        return fail(why, E_MEMORY, "a PNG encoder");
    int error = spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    if (!error)
        error = spng_set_ihdr(png, &head);
    if (!error)
        error = spng_encode_image(png, rgb, (size_t)width * (size_t)height * 3, SPNG_FMT_PNG,
                                  SPNG_ENCODE_FINALIZE);
    *bytes = error ? NULL : spng_get_png_buffer(png, size, &error);
    spng_ctx_free(png);
    return *bytes ? 0 : fail(why, E_FAILED, "PNG: %s", spng_strerror(error));
}
