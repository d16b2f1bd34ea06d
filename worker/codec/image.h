/* JPEG and PNG files from outside into the bytes of a row: decoded, brought to the model's channels, resized to its height and
 * width. Nothing of a file is believed before it is checked: width and height are read and limited before memory is taken, and a
 * file that is cut, damaged or no image is E_BAD_IMAGE with the reason, which is one row's affair.
 *
 * Colours: three channels are RGB; one is ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16. An alpha channel is left
 * out, palettes and 16-bit samples become 8 bits, EXIF's orientation and colour profiles are not looked at. CMYK is refused.
 * Resizing stretches to the size that is wanted, with a triangle filter that widens where the image shrinks: what Pillow's
 * resize(..., BILINEAR) does, to the last bit. All of it is integer arithmetic on the way: the same file gives the same bytes. */
#ifndef WORKER_CODEC_IMAGE_H
#define WORKER_CODEC_IMAGE_H

#include "worker/codec/record.h"

enum {
    IMAGE_MAX_SIDE = 16384,
    IMAGE_MAX_PIXELS = 1 << 24,   /* of one image: 50 MB decoded */
    IMAGE_MAX_SCANS = 64,         /* of a progressive JPEG */
    IMAGE_RECORD_PIXELS = 1 << 28 /* of all images of a record: some seconds of work */
};

/* Memory that is used again from image to image. Zeroed is valid; one thread at a time. */
struct image_decoder {
    int64_t budget;        /* pixels that may still be decoded; image_decode takes off what it admits */
    int width, height;     /* of the image at hand */
    unsigned char *pixels; /* [height][width][3], then [height][width][channels] */
    size_t pixel_capacity;
    unsigned char *columns; /* [height][wanted width][channels]: the first pass of a resize */
    size_t column_capacity;
    int32_t *weights;
    size_t weight_capacity; /* in bytes, as the others */
};

void image_decoder_free(struct image_decoder *d);

/* True when rows of this shape can be made of images: [1 or 3, H, W]. */
bool image_fits(struct shape row);
/* One file into row bytes [C][H][W] at `out`. E_BAD_IMAGE: the file's fault; E_MEMORY. */
int image_decode(struct image_decoder *d, struct span file, struct shape row, unsigned char *out,
                 struct fail *why);
/* Row bytes [C][h][w] to [C][H][W] by the same rule; `from` and `to` have as many channels. E_BAD_IMAGE: too large. */
int image_resize_planes(struct image_decoder *d, const unsigned char *planes, struct shape from,
                        struct shape to, unsigned char *out, struct fail *why);
/* RGB pixels [height][width][3] as a PNG file; bytes are malloc'd. */
int image_png_print(const unsigned char *rgb, int width, int height, void **bytes, size_t *size,
                    struct fail *why);

#endif
