/* The same calls through syscall(3): as good as the named ones. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    int fd = make("raw.dat", 8, 1);
    unsigned char bytes[BLOCK];
    for (uint64_t version = 2; version < 40; version++) {
        uint64_t at = (version % 8) * BLOCK;
        CHECK(holds(fd, at, BLOCK, version > 9 ? version - 8 : 1));
        fill(bytes, BLOCK, at, version);
        if (version % 2)
            CHECK(syscall(SYS_pwrite64, fd, bytes, (size_t)BLOCK, (off_t)at) == BLOCK);
        else {
            CHECK(lseek(fd, (off_t)at, SEEK_SET) == (off_t)at);
            CHECK(syscall(SYS_write, fd, bytes, (size_t)BLOCK) == BLOCK);
        }
        CHECK(holds(fd, at, BLOCK, version));
    }
    CHECK(syscall(SYS_ftruncate, fd, (off_t)BLOCK) == 0);
    SAY(pread(fd, bytes, BLOCK, BLOCK));
    put(fd, 0, 4 * BLOCK, 50);
    CHECK(holds_all(fd, 4, 50, 3));
    CHECK(syscall(SYS_truncate, in_dir("raw.dat"), (off_t)(2 * BLOCK)) == 0);
    SAY(pread(fd, bytes, BLOCK, 2 * BLOCK));
    put(fd, 0, 4 * BLOCK, 51);
    CHECK(holds_all(fd, 4, 51, 3));
    int again = (int)syscall(SYS_openat, AT_FDCWD, in_dir("raw.dat"), O_RDWR | O_TRUNC, 0);
    SAY(pread(fd, bytes, BLOCK, 0));
    put(again, 0, BLOCK, 52);
    CHECK(holds(fd, 0, BLOCK, 52) && holds(again, 0, BLOCK, 52));
    unsigned char *view = (void *)syscall(SYS_mmap, NULL, (size_t)BLOCK, PROT_READ | PROT_WRITE,
                                          MAP_SHARED, again, (off_t)0);
    CHECK(view != MAP_FAILED);
    for (uint64_t version = 53; version < 60; version++) {
        fill(view, BLOCK, 0, version);
        CHECK(holds(fd, 0, BLOCK, version) && holds(fd, 0, BLOCK, version));
    }
    CHECK(syscall(SYS_close, warm) == 0);
    SAY(pread(warm, bytes, BLOCK, 0));
    int other = open(in_dir("raw.dat"), O_RDONLY);
    CHECK(other == warm);
    SAY(pread(other, bytes, BLOCK, BLOCK));
    SAY(syscall(SYS_pread64, other, bytes, (size_t)BLOCK, (off_t)0));
    SAY(syscall(SYS_getpid) == getpid());
    return 0;
}
