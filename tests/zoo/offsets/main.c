/* The file offset is the kernel's: pread leaves it, read, lseek and dup share it. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int fd = open_warm();
    int twin = dup(fd);
    unsigned char bytes[BLOCK];
    for (uint64_t n = 0; n < WARM_BLOCKS - 1; n += 2) {
        CHECK(read(fd, bytes, BLOCK) == BLOCK && is(bytes, BLOCK, n * BLOCK, 0));
        CHECK(holds(fd, 40 * BLOCK, BLOCK, 0));
        CHECK(lseek(twin, 0, SEEK_CUR) == (off_t)((n + 1) * BLOCK));
        struct iovec part = {bytes, BLOCK};
        CHECK(readv(twin, &part, 1) == BLOCK && is(bytes, BLOCK, (n + 1) * BLOCK, 0));
    }
    SAY(lseek(fd, 0, SEEK_CUR));
    pid_t child = fork();
    if (child == 0) {
        CHECK(lseek(fd, 100, SEEK_SET) == 100 && holds(fd, 5, 10, 0));
        _exit(0);
    }
    reap(child, "child");
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(read(fd, bytes, 10));
    CHECK(is(bytes, 10, 100, 0));
    return 0;
}
