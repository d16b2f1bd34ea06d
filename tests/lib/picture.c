/* Encodes through the same libraries that the worker decodes with: what another program writes is in tests/golden/images. */
#include "tests/lib/picture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <spng.h>
#include <zlib.h>

#undef fail
#include <cmocka.h>

unsigned char *picture_pixels(int width, int height)
{
    unsigned char *p = malloc((size_t)width * (size_t)height * 3);
    assert_non_null(p);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                p[(y * width + x) * 3 + c] =
                    (unsigned char)(7 * x + 13 * y + 29 * c + x * y + x * x * 5 / 11);
    return p;
}

static void keep(struct bytes *out, const void *data, size_t size)
{
    *out = (struct bytes){.data = malloc(size), .size = size, .capacity = size};
    assert_non_null(out->data);
    memcpy(out->data, data, size);
}

void picture_png(struct bytes *out, const unsigned char *rgb, int width, int height, bool interlaced)
{
    struct spng_ihdr head = {.width = (uint32_t)width,
                             .height = (uint32_t)height,
                             .bit_depth = 8,
                             .color_type = SPNG_COLOR_TYPE_TRUECOLOR,
                             .interlace_method = interlaced ? SPNG_INTERLACE_ADAM7 : SPNG_INTERLACE_NONE};
    size_t size;
    int error;
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    assert_non_null(png);
    assert_int_equal(spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1), 0);
    assert_int_equal(spng_set_ihdr(png, &head), 0);
    assert_int_equal(
        spng_encode_image(png, rgb, (size_t)width * (size_t)height * 3, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE),
        0);
    void *file = spng_get_png_buffer(png, &size, &error);
    assert_int_equal(error, 0);
    keep(out, file, size);
    free(file);
    spng_ctx_free(png);
}

/* Components of J_COLOR_SPACE `space` from `pixels`, with the scans that `prepare` asks for. */
static void encode(struct bytes *out, const unsigned char *pixels, int width, int height, int components,
                   J_COLOR_SPACE space, void (*prepare)(j_compress_ptr jpeg, int n), int n)
{
    struct jpeg_compress_struct jpeg = {0};
    struct jpeg_error_mgr errors;
    unsigned char *file = NULL;
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &file, &size);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = components;
    jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    prepare(&jpeg, n);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row =
            (JSAMPROW)(uintptr_t)pixels + (size_t)jpeg.next_scanline * (size_t)width * (size_t)components;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    keep(out, file, size);
    free(file);
}

static void with_quality(j_compress_ptr jpeg, int quality)
{
    jpeg_set_quality(jpeg, quality, TRUE);
}

void picture_jpeg(struct bytes *out, const unsigned char *rgb, int width, int height, int quality)
{
    encode(out, rgb, width, height, 3, JCS_RGB, with_quality, quality);
}

enum { SCANS = 130 };

/* First the constant term, then every other coefficient by itself but for its lowest bit, then the bits. */
static const jpeg_scan_info *scan_list(void)
{
    static const jpeg_scan_info *made;
    static jpeg_scan_info list[SCANS];
    if (made)
        return made;
    for (int i = 0; i < 64; i++)
        list[i] = (jpeg_scan_info){1, {0}, i, i, 0, 1};
    for (int i = 0; i < 64; i++)
        list[64 + i] = (jpeg_scan_info){1, {0}, i, i, 1, 0};
    return made = list;
}

static void with_scans(j_compress_ptr jpeg, int scans)
{
    jpeg->scan_info = scan_list();
    jpeg->num_scans = scans;
}

void picture_jpeg_scans(struct bytes *out, int width, int height, int scans)
{
    unsigned char *rgb = picture_pixels(width, height);
    encode(out, rgb, width, height, 1, JCS_GRAYSCALE, with_scans, scans);
    free(rgb);
}

void picture_jpeg_cmyk(struct bytes *out, int width, int height)
{
    unsigned char *pixels = calloc((size_t)width * (size_t)height, 4);
    assert_non_null(pixels);
    encode(out, pixels, width, height, 4, JCS_CMYK, with_quality, 90);
    free(pixels);
}

static void big_endian(unsigned char *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(v >> (24 - 8 * i));
}

void picture_png_head(struct bytes *out, uint32_t width, uint32_t height)
{
    unsigned char head[] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR........\x08\x02\0\0\0....";
    big_endian(head + 16, width);
    big_endian(head + 20, height);
    big_endian(head + 29, (uint32_t)crc32(0, head + 12, 17));
    keep(out, head, sizeof head - 1);
}

void picture_jpeg_size(struct bytes *file, unsigned width, unsigned height)
{
    for (size_t i = 2; i + 9 < file->size; i += 2 + (size_t)(file->data[i + 2] << 8 | file->data[i + 3])) {
        assert_int_equal(file->data[i], 0xff);
        if (file->data[i + 1] < 0xc0 || file->data[i + 1] > 0xc2)
            continue;
        file->data[i + 5] = (unsigned char)(height >> 8);
        file->data[i + 6] = (unsigned char)height;
        file->data[i + 7] = (unsigned char)(width >> 8);
        file->data[i + 8] = (unsigned char)width;
        return;
    }
    fail_msg("no frame header");
}
