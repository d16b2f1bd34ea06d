/* Images into rows: equal to Pillow's to the last bit, limits before memory, and whatever is wrong with a file is E_BAD_IMAGE. */
#include "worker/codec/image.h"

#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef fail
#include <cmocka.h>

#include "engine/rng.h"
#include "tests/lib/folder.h"
#include "tests/lib/picture.h"

static struct span span_of(const struct bytes *b)
{
    return (struct span){(const char *)b->data, b->size};
}

enum { PNG_END = 4 }; /* the checksum of a chunk without content */

/* Decodes with a fresh budget into memory of exactly the row's size. */
static int decode(struct image_decoder *d, struct span file, struct shape row, unsigned char **out,
                  struct fail *why)
{
    d->budget = IMAGE_RECORD_PIXELS;
    *out = malloc((size_t)shape_size(row));
    assert_non_null(*out);
    return image_decode(d, file, row, *out, why);
}

static void is_digest(const unsigned char *bytes, size_t size, const char *want)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    SHA256(bytes, size, digest);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(hex, want);
}

/* Both tables: tests/golden/make_image_goldens.py */
static void a_resize_is_pillows(void **state)
{
    static const struct {
        int width, height, channels, to_width, to_height;
        const char *sha256;
    } want[] = {
        {37, 23, 3, 32, 32, "0a06ed0a83f71dcbb53b68a41b66df75d9fb44c249570d66289242999e2cb00e"},
        {37, 23, 1, 32, 32, "da233ada4832e26ef02b8836031c6b9874d72e78c1434c632727c51dbc2f5322"},
        {32, 32, 3, 32, 32, "7e8456fe2fe3956068597e9455612b571481a169dc3d4f38321bf41d2b949507"},
        {300, 200, 3, 16, 24, "6d3b7a0135dfb3de0f86998db7884d8520f3c0ba5077992d20fd08413d31cc77"},
        {300, 200, 1, 1, 1, "76be8b528d0075f7aae98d6fa57a6d3c83ae480a8469e668d7b0af968995ac71"},
        {5, 4, 3, 33, 18, "bafe491dd0153146f2a8d9fbe81fd9f3b524c7c2a1cb0d470c3e7f22897c9ec5"},
        {1, 1, 3, 7, 3, "dbc4e6fb1379c2dc86378c41fd11c14ff387a6d38d4238b3620dff124ea70dbc"},
        {640, 3, 3, 9, 30, "d3708951dabbc027d6c04b51636fec541774c021a777bce27ecd3045b71c9249"},
    };
    struct image_decoder d = {0};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct bytes file;
        struct fail why;
        unsigned char *out, *rgb = picture_pixels(want[i].width, want[i].height);
        struct shape row = SHAPE(want[i].channels, want[i].to_height, want[i].to_width);
        picture_png(&file, rgb, want[i].width, want[i].height, i % 2);
        int rc = decode(&d, span_of(&file), row, &out, &why);
        assert_string_equal(rc ? why.text : "", "");
        is_digest(out, (size_t)shape_size(row), want[i].sha256);
        free(out);
        free(rgb);
        bytes_free(&file);
    }
    image_decoder_free(&d);
}

static void files_of_another_program_are_read_as_it_reads_them(void **state)
{
    static const struct {
        const char *name;
        int channels;
        const char *sha256;
    } want[] = {
        {"baseline.jpg", 3, "e76a25ec9fc933043ed1528ff11eff1733a2f2b52bcee03c8f08efbecd47a84c"},
        {"baseline.jpg", 1, "1dc37a5eb42b16db65c6bbe19bea4bb568068d950ceef4400246aada65086503"},
        {"whole.jpg", 3, "bc032b551ce78ed637ce32fd7931e0ee8e771e91022ca71f8343392745f986d6"},
        {"whole.jpg", 1, "ade7fe35ee8ed4965962d56a022ddd781e8444b29462fe36e57d77a76ff402ea"},
        {"progressive.jpg", 3, "616e8284684b4ef7663a70b6b195c11b85fc9c2ea4dcb5b067688f2181dfb3e4"},
        {"progressive.jpg", 1, "298807e911919b3cdcf6b9409fe29abef8f26655d02bff825fc76f0b12d5f21d"},
        {"grey.jpg", 3, "fcdcf325570fbc7146a9e84f52e968acceb7260553119879319133e47bd3fe8f"},
        {"grey.jpg", 1, "0bba5f32ed513c3206903c15e3ed9e852c85504b876e85a5f74c4c8ce85237dc"},
        {"rgb.png", 3, "3323459ef835da470f3d43c1611cc0086362a09f39d82addccc18deac7fa4b16"},
        {"rgb.png", 1, "316ee6adcedd9ab9b92581c1cca93df6e434386be1a265a5602f75928e8633e1"},
        {"grey.png", 3, "77bb8a3163b1778e158f57ac55250cd098ebae87004bc462a44847f097206d36"},
        {"grey.png", 1, "316ee6adcedd9ab9b92581c1cca93df6e434386be1a265a5602f75928e8633e1"},
        {"bits.png", 3, "f6290c6b86b4cd2eaa157b5e912d5a38959c4ca4d56308925127c3246e604200"},
        {"bits.png", 1, "a930f047e91fe05fd4043aea62933cf5b4c14ee4c01e17fad3fcf6bc160f45f6"},
        {"palette.png", 3, "e9297bf9b43d0eb8dc2c15c09cb830e5294879123f9e51ee42be1ef4ef1156fe"},
        {"palette.png", 1, "2c8b040648ef180db8a794b88488152c391aaacdf548728bd4c6b7bc13d1a5aa"},
        {"alpha.png", 3, "3323459ef835da470f3d43c1611cc0086362a09f39d82addccc18deac7fa4b16"},
        {"alpha.png", 1, "316ee6adcedd9ab9b92581c1cca93df6e434386be1a265a5602f75928e8633e1"},
        {"grey-alpha.png", 3, "77bb8a3163b1778e158f57ac55250cd098ebae87004bc462a44847f097206d36"},
        {"grey-alpha.png", 1, "316ee6adcedd9ab9b92581c1cca93df6e434386be1a265a5602f75928e8633e1"},
    };
    struct image_decoder d = {0};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct fail why;
        size_t size;
        unsigned char *out, *file = folder_read(folder_path("tests/golden/images", want[i].name), &size);
        struct shape row = SHAPE(want[i].channels, 24, 20);
        int rc = decode(&d, (struct span){(char *)file, size}, row, &out, &why);
        assert_string_equal(rc ? why.text : "", "");
        is_digest(out, (size_t)shape_size(row), want[i].sha256);
        free(out);
        free(file);
    }
    image_decoder_free(&d);
}

static void a_png_of_the_right_size_keeps_its_pixels(void **state)
{
    struct image_decoder d = {0};
    struct bytes file;
    struct fail why;
    unsigned char *out, *rgb = picture_pixels(19, 11);
    (void)state;
    picture_png(&file, rgb, 19, 11, true);
    assert_int_equal(decode(&d, span_of(&file), SHAPE(3, 11, 19), &out, &why), 0);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 19 * 11; i++)
            assert_int_equal(out[c * 19 * 11 + i], rgb[3 * i + c]);
    free(out);
    free(rgb);
    bytes_free(&file);
    image_decoder_free(&d);
}

static void is_bad(struct span file, struct shape row, const char *text)
{
    struct image_decoder d = {0};
    struct fail why;
    unsigned char *out;
    assert_int_equal(decode(&d, file, row, &out, &why), -E_BAD_IMAGE);
    if (!strstr(why.text, text))
        fail_msg("\"%s\" does not say \"%s\"", why.text, text);
    assert_true(d.pixel_capacity <= (size_t)IMAGE_MAX_PIXELS * 3);
    free(out);
    image_decoder_free(&d);
}

static void sizes_are_refused_before_memory_is_taken(void **state)
{
    static const uint32_t sizes[][2] = {{16385, 1},     {1, 16385}, {4097, 4096},
                                        {16384, 16384}, {0, 5},     {0x7fffffff, 0x7fffffff}};
    struct image_decoder d = {.budget = IMAGE_RECORD_PIXELS};
    struct bytes file;
    struct fail why;
    unsigned char out[3], *rgb = picture_pixels(8, 8);
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        picture_png_head(&file, sizes[i][0], sizes[i][1]);
        assert_int_equal(image_decode(&d, span_of(&file), SHAPE(3, 1, 1), out, &why), -E_BAD_IMAGE);
        assert_null(d.pixels);
        bytes_free(&file);
    }
    static const unsigned jpeg_sizes[][2] = {{65500, 1}, {1, 65500}, {4097, 4096}, {65500, 65500}};
    for (size_t i = 0; i < sizeof jpeg_sizes / sizeof *jpeg_sizes; i++) {
        picture_jpeg(&file, rgb, 8, 8, 90);
        picture_jpeg_size(&file, jpeg_sizes[i][0], jpeg_sizes[i][1]);
        assert_int_equal(image_decode(&d, span_of(&file), SHAPE(3, 1, 1), out, &why), -E_BAD_IMAGE);
        assert_null(d.pixels);
        bytes_free(&file);
    }
    free(rgb);
}

/* A record of many small files that unpack to much: the first ones are read, then there is an end. */
static void the_pixels_of_a_record_are_limited(void **state)
{
    struct image_decoder d = {.budget = 250};
    struct bytes file;
    struct fail why;
    unsigned char out[3], *rgb = picture_pixels(10, 10);
    (void)state;
    picture_png(&file, rgb, 10, 10, false);
    assert_int_equal(image_decode(&d, span_of(&file), SHAPE(3, 1, 1), out, &why), 0);
    assert_int_equal(image_decode(&d, span_of(&file), SHAPE(3, 1, 1), out, &why), 0);
    assert_int_equal(image_decode(&d, span_of(&file), SHAPE(3, 1, 1), out, &why), -E_BAD_IMAGE);
    assert_non_null(strstr(why.text, "send fewer a record"));
    free(rgb);
    bytes_free(&file);
    image_decoder_free(&d);
}

static void what_is_no_image_is_refused(void **state)
{
    struct bytes file;
    unsigned char *rgb = picture_pixels(16, 16);
    (void)state;
    is_bad((struct span){"", 0}, SHAPE(3, 4, 4), "neither JPEG nor PNG");
    is_bad((struct span){"\xff\xd8", 2}, SHAPE(3, 4, 4), "neither JPEG nor PNG");
    is_bad((struct span){"GIF89a..........", 16}, SHAPE(3, 4, 4), "neither JPEG nor PNG");
    is_bad((struct span){"\xff\xd8\xff", 3}, SHAPE(3, 4, 4), "JPEG");
    is_bad((struct span){"\x89PNG\r\n\x1a\n", 8}, SHAPE(3, 4, 4), "PNG");
    picture_jpeg_cmyk(&file, 16, 16);
    is_bad(span_of(&file), SHAPE(3, 4, 4), "4 components");
    bytes_free(&file);
    picture_png(&file, rgb, 16, 16, false);
    is_bad(span_of(&file), SHAPE(2, 4, 4), "[1 or 3, H, W]");
    is_bad(span_of(&file), SHAPE(768), "[1 or 3, H, W]");
    bytes_free(&file);
    free(rgb);
}

static void scans_are_limited(void **state)
{
    struct image_decoder d = {0};
    struct bytes file;
    struct fail why;
    unsigned char *out;
    (void)state;
    picture_jpeg_scans(&file, 16, 16, IMAGE_MAX_SCANS);
    assert_int_equal(decode(&d, span_of(&file), SHAPE(1, 16, 16), &out, &why), 0);
    bytes_free(&file);
    free(out);
    picture_jpeg_scans(&file, 16, 16, IMAGE_MAX_SCANS + 8);
    is_bad(span_of(&file), SHAPE(1, 16, 16), "more than 64 scans");
    bytes_free(&file);
    image_decoder_free(&d);
}

/* A file that ends early is never an image, wherever it is cut; `end` bytes say nothing any more. */
static void is_bad_wherever_it_is_cut(const struct bytes *file, size_t end)
{
    for (size_t n = 0; n < file->size - end; n++) {
        char *part = malloc(n + 1); /* exactly its size, so that a sanitizer sees a byte too far */
        memcpy(part, file->data, n);
        part = realloc(part, n ? n : 1);
        is_bad((struct span){part, n}, SHAPE(3, 4, 4), "");
        free(part);
    }
}

/* Whatever is changed in it, the answer is an image or E_BAD_IMAGE. */
static void is_answered_whatever_is_changed(const struct bytes *file, uint64_t seed, int *bad)
{
    struct rng g = rng_seed(seed);
    struct image_decoder d = {0};
    for (int i = 0; i < 600; i++) {
        struct fail why;
        unsigned char *out, *copy = malloc(file->size);
        memcpy(copy, file->data, file->size);
        for (int k = 0; k <= i % 3; k++)
            copy[rng_below(&g, (uint32_t)file->size)] = (unsigned char)rng_below(&g, 256);
        int rc = decode(&d, (struct span){(char *)copy, file->size}, SHAPE(3, 4, 4), &out, &why);
        assert_true(rc == 0 || rc == -E_BAD_IMAGE);
        *bad += rc != 0;
        free(out);
        free(copy);
    }
    image_decoder_free(&d);
}

static void damage_is_found(void **state)
{
    struct bytes file;
    int bad = 0;
    unsigned char *rgb = picture_pixels(21, 17);
    (void)state;
    picture_png(&file, rgb, 21, 17, false);
    is_bad_wherever_it_is_cut(&file, PNG_END);
    is_answered_whatever_is_changed(&file, 1, &bad);
    assert_true(bad > 590); /* a byte changed into itself is all that passes the checksums */
    bytes_free(&file);
    picture_jpeg(&file, rgb, 21, 17, 80);
    is_bad_wherever_it_is_cut(&file, 0);
    is_answered_whatever_is_changed(&file, 2, &bad);
    bytes_free(&file);
    picture_jpeg_scans(&file, 21, 17, 10);
    is_bad_wherever_it_is_cut(&file, 0);
    is_answered_whatever_is_changed(&file, 3, &bad);
    bytes_free(&file);
    free(rgb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resize_is_pillows),
        cmocka_unit_test(files_of_another_program_are_read_as_it_reads_them),
        cmocka_unit_test(a_png_of_the_right_size_keeps_its_pixels),
        cmocka_unit_test(sizes_are_refused_before_memory_is_taken),
        cmocka_unit_test(the_pixels_of_a_record_are_limited),
        cmocka_unit_test(what_is_no_image_is_refused),
        cmocka_unit_test(scans_are_limited),
        cmocka_unit_test(damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
