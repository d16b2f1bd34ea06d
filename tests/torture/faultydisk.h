/* What the preloaded faultydisk.so does to files below FAULTYDISK_ROOT: the int in the file that FAULTYDISK_WORD names,
 * mapped by the supervisor and by each worker. */
#ifndef TESTS_TORTURE_FAULTYDISK_H
#define TESTS_TORTURE_FAULTYDISK_H

enum faulty_disk {
    FAULTY_NOT,
    FAULTY_FULL,  /* ENOSPC at every write */
    FAULTY_WRITE, /* EIO at every write */
    FAULTY_SYNC,  /* EIO at every fsync */
    FAULTY_SLOW,  /* every fsync takes 300 ms longer */
};

#endif
