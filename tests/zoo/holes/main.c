/* fallocate in all its modes: punch, zero, collapse, insert; and posix_fallocate. */
#include "../zoo.h"
#include <sys/ioctl.h>

/* FS_IOC_UNRESVSP64, older than fallocate. */
static int punch_by_ioctl(int fd, int64_t at)
{
    struct {
        int16_t type, whence;
        int64_t start, len;
        int32_t sysid;
        uint32_t pid;
        int32_t pad[4];
    } space = {.whence = SEEK_SET, .start = at, .len = BLOCK};
    return ioctl(fd, 0x4030582B, &space);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    int fd = make("holes.dat", 16, 1);
    int reader = open(in_dir("holes.dat"), O_RDONLY);
    CHECK(holds_all(reader, 16, 1, 3));
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * BLOCK, BLOCK) == 0);
    CHECK(holds_zeros(reader, 2 * BLOCK, BLOCK) && holds(reader, 3 * BLOCK, BLOCK, 1));
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * BLOCK + 10, 20) == 0);
    CHECK(holds(reader, 5 * BLOCK, 10, 1) && holds_zeros(reader, 5 * BLOCK + 10, 20));
    CHECK(holds(reader, 5 * BLOCK + 30, BLOCK - 30, 1));
    CHECK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 7 * BLOCK, BLOCK) == 0);
    CHECK(holds_zeros(reader, 7 * BLOCK, BLOCK));
    put(fd, 0, 16 * BLOCK, 2);
    CHECK(holds_all(reader, 16, 2, 2));
    unsigned char before[BLOCK], after[BLOCK];
    CHECK(pread(reader, before, BLOCK, 6 * BLOCK) == BLOCK);
    CHECK(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4 * BLOCK, BLOCK) == 0);
    CHECK(pread(reader, after, BLOCK, 5 * BLOCK) == BLOCK && memcmp(before, after, BLOCK) == 0);
    SAY(lseek(reader, 0, SEEK_END));
    CHECK(fallocate(fd, FALLOC_FL_INSERT_RANGE, 4 * BLOCK, BLOCK) == 0);
    CHECK(holds_zeros(reader, 4 * BLOCK, BLOCK));
    CHECK(pread(reader, after, BLOCK, 6 * BLOCK) == BLOCK && memcmp(before, after, BLOCK) == 0);
    CHECK(posix_fallocate(fd, 16 * BLOCK, 4 * BLOCK) == 0);
    CHECK(holds_zeros(reader, 17 * BLOCK, BLOCK));
    SAY(lseek(reader, 0, SEEK_END));
    CHECK(punch_by_ioctl(fd, 8 * BLOCK) == 0);
    CHECK(holds_zeros(reader, 8 * BLOCK, BLOCK) && holds_zeros(reader, 8 * BLOCK, BLOCK));
    SAY(fallocate(reader, 0, 0, BLOCK));
    SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, BLOCK));
    return 0;
}
