/* cflags: -D_FORTIFY_SOURCE=2
 * The fortified twins: __pread_chk, __open_2; the overflow they catch is still caught. */
#include "../zoo.h"

static ssize_t checked(int fd, size_t count, off_t at)
{
    unsigned char bytes[BLOCK];
    memset(bytes, 0, sizeof bytes);
    ssize_t got = pread(fd, bytes, count, at); /* count is unknown: __pread_chk */
    return got == (ssize_t)count && is(bytes, count, (uint64_t)at, 0) ? got : -2;
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int fd = open_warm();
    volatile size_t count = BLOCK;
    volatile int flags = O_RDONLY;
    for (int n = 0; n < WARM_BLOCKS; n++)
        CHECK(checked(fd, count, n * BLOCK) == BLOCK);
    int again = open(in_dir("warm.dat"), flags);
    CHECK(again >= 0 && checked(again, count - 7, 7) == BLOCK - 7);
    puts("reads of the right size are right");
    fflush(stdout);
    count = BLOCK + 1;
    checked(fd, count, 0);
    puts("an overflow went unnoticed");
    return 1;
}
