/* A temporary folder of one test program: made once, gone with all it holds at the end. Fails the running
 * cmocka test when it cannot be made. */
#ifndef TESTS_LIB_FOLDER_H
#define TESTS_LIB_FOLDER_H

#include <stddef.h>

/* For cmocka_run_group_tests: *state is the folder's name, a char *. */
int folder_setup(void **state);
int folder_teardown(void **state);

/* "FOLDER/NAME" in memory that the next seven calls leave alone. */
const char *folder_path(const char *folder, const char *name);
/* A whole file; free it. Exactly its size, so that a sanitizer sees a byte too far. */
unsigned char *folder_read(const char *path, size_t *size);
void folder_write(const char *path, const void *bytes, size_t size);

#endif
