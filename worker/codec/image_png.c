/* PNG through libspng, every checksum looked at, up to the file's last chunk. The only file with spng.h. */
#include <spng.h>

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
