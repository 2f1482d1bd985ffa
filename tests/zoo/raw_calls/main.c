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
    CHECK(syscall(SYS_close, warm) == 0);
    SAY(pread(warm, bytes, BLOCK, 0));
    int other = open(in_dir("raw.dat"), O_RDONLY);
    CHECK(other == warm);
    SAY(pread(other, bytes, BLOCK, BLOCK));
    SAY(syscall(SYS_pread64, other, bytes, (size_t)BLOCK, (off_t)0));
    SAY(syscall(SYS_getpid) == getpid());
    return 0;
}
