/* Folders of images as data sets: classes and files in the order of their names, pixels as the decoder makes them, and
 * what is refused. */
#include "tests/lib/folder.h"
#include "tests/lib/picture.h"
#include "worker/codec/image.h"
#include "worker/data/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void image_write(const char *folder, const char *name, int width, int height, bool png)
{
    unsigned char *rgb = picture_pixels(width, height);
    struct bytes file = {0};
    if (png)
        picture_png(&file, rgb, width, height, false);
    else
        picture_jpeg(&file, rgb, width, height, 90);
    folder_write(folder_path(folder, name), file.data, file.size);
    bytes_free(&file);
    free(rgb);
}

static const char *made(const char *folder, const char *name)
{
    assert_int_equal(mkdir(folder_path(folder, name), 0777), 0);
    return folder_path(folder, name);
}

static void classes_in_the_order_of_names(void **state)
{
    const char *dir = *state;
    struct folder f;
    struct rows rows;
    struct fail why;
    struct shape shape = SHAPE(1, 5, 4);
    made(dir, "pets");
    made(dir, "pets/dog");
    made(dir, "pets/cat");
    made(dir, "pets/.hidden");
    image_write(dir, "pets/dog/b.png", 9, 7, true);
    image_write(dir, "pets/dog/a.JPG", 12, 20, false);
    image_write(dir, "pets/cat/z.jpeg", 8, 8, false);
    const char *path = folder_path(dir, "pets");
    assert_int_equal(folder_open(&f, path, &why), 0);
    assert_int_equal(f.class_count, 2);
    assert_string_equal(f.classes[0], "cat");
    assert_string_equal(f.classes[1], "dog");
    assert_int_equal(f.count, 3);
    static const char *const ends[] = {"cat/z.jpeg", "dog/a.JPG", "dog/b.png"};
    static const int labels[] = {0, 1, 1};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(f.images[i].path), m = strlen(ends[i]);
        assert_string_equal(f.images[i].path + n - m, ends[i]);
        assert_int_equal(f.images[i].label, labels[i]);
    }
    assert_int_equal(rows_read_as(&rows, path, &shape, &why), 0);
    assert_int_equal(rows.count, 3);
    assert_int_equal(rows.dtype, DTYPE_UINT8);
    for (int i = 0; i < 3; i++) {
        struct image_decoder d = {.budget = IMAGE_RECORD_PIXELS};
        unsigned char expected[20];
        size_t size;
        unsigned char *bytes = folder_read(f.images[i].path, &size);
        assert_int_equal(image_decode(&d, (struct span){(char *)bytes, size}, shape, expected, &why), 0);
        assert_memory_equal((const char *)rows.data + 20 * i, expected, 20);
        assert_int_equal(rows.labels[i], labels[i]);
        image_decoder_free(&d);
        free(bytes);
    }
    rows_close(&rows);
    assert_int_equal(rows_read(&rows, path, &why), 0); /* the first image's size */
    assert_true(shape_equal(rows.row_shape, SHAPE(3, 8, 8)));
    rows_close(&rows);
    folder_close(&f);
}

static void images_without_classes(void **state)
{
    const char *dir = *state;
    struct rows rows;
    struct fail why;
    made(dir, "plain");
    image_write(dir, "plain/1.png", 6, 4, true);
    image_write(dir, "plain/2.png", 6, 4, true);
    assert_int_equal(rows_read(&rows, folder_path(dir, "plain"), &why), 0);
    assert_int_equal(rows.count, 2);
    assert_null(rows.labels);
    assert_true(shape_equal(rows.row_shape, SHAPE(3, 4, 6)));
    rows_close(&rows);
}

static void refused(const char *dir, const char *name, const char *said)
{
    struct rows rows;
    struct fail why = {0};
    assert_int_equal(rows_read(&rows, folder_path(dir, name), &why), -E_FILE);
    if (!strstr(why.text, said))
        fail_msg("%s: \"%s\" lacks \"%s\"", name, why.text, said);
}

static void what_is_refused(void **state)
{
    const char *dir = *state;
    made(dir, "none");
    refused(dir, "none", "holds no image");
    made(dir, "mixed");
    made(dir, "mixed/a");
    image_write(dir, "mixed/a/1.png", 4, 4, true);
    image_write(dir, "mixed/b.png", 4, 4, true);
    refused(dir, "mixed", "b.png: an image beside class folders");
    made(dir, "empty");
    made(dir, "empty/a");
    made(dir, "empty/b");
    image_write(dir, "empty/a/1.png", 4, 4, true);
    refused(dir, "empty", "a class without an image");
    made(dir, "text");
    made(dir, "text/a");
    folder_write(folder_path(dir, "text/a/notes.txt"), "x", 1);
    refused(dir, "text", "notes.txt");
    made(dir, "deep");
    made(dir, "deep/a");
    made(dir, "deep/a/b");
    refused(dir, "deep", "a folder in a class's folder");
    made(dir, "broken");
    made(dir, "broken/a");
    image_write(dir, "broken/a/1.png", 4, 4, true);
    folder_write(folder_path(dir, "broken/a/2.png"), "no image", 8);
    refused(dir, "broken", "2.png");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_in_the_order_of_names),
        cmocka_unit_test(images_without_classes),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
