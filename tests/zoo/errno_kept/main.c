/* A call that succeeds leaves errno alone; so must one that was served. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int fd = open_warm();
    int own = make("own.dat", 8, 1);
    unsigned char bytes[BLOCK];
    for (int n = 0; n < 300; n++) {
        errno = 4242;
        CHECK(pread(fd, bytes, BLOCK, (n % WARM_BLOCKS) * BLOCK) == BLOCK && errno == 4242);
        CHECK(pwrite(own, bytes, BLOCK, 0) == BLOCK && errno == 4242);
        CHECK(pread(own, bytes, BLOCK, 0) == BLOCK && errno == 4242);
        int twin = dup(fd);
        CHECK(errno == 4242 && close(twin) == 0 && errno == 4242);
        CHECK(ftruncate(own, 8 * BLOCK) == 0 && errno == 4242);
        CHECK(pread(-1, bytes, 1, 0) == -1 && errno == EBADF);
        CHECK(pwrite(fd, bytes, 1, 0) == -1 && errno == EBADF);
    }
    puts("errno was nobody's but the kernel's");
    return 0;
}
