/* A bad buffer is EFAULT or a short count, as from the kernel, and never a signal. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int fd = open_warm();
    unsigned char *pages = mmap(NULL, 4 * BLOCK, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    for (int n = 0; n < 50; n++)
        CHECK(pread(fd, pages, 2 * BLOCK, 0) == 2 * BLOCK && is(pages, 2 * BLOCK, 0, 0));

    SAY(pread(fd, NULL, BLOCK, 0));
    SAY(pread(fd, (void *)16, BLOCK, 0));
    SAY(pread(fd, (void *)-4096, BLOCK, 0));
    unsigned char *sealed = pages + 2 * BLOCK;
    CHECK(mprotect(sealed, BLOCK, PROT_READ) == 0);
    SAY(pread(fd, sealed, BLOCK, 0));
    unsigned char *gone = pages + 3 * BLOCK;
    CHECK(munmap(gone, BLOCK) == 0);
    SAY(pread(fd, gone, BLOCK, 0));
    SAY(pread(fd, sealed, 2 * BLOCK, 0));
    SAY(pread(fd, pages + BLOCK, 2 * BLOCK, 0));
    static const unsigned char constant[BLOCK] = {1};
    SAY(pread(fd, (void *)(uintptr_t)constant, BLOCK, 0));
    CHECK(constant[0] == 1);
    struct iovec parts[2] = {{pages, 100}, {NULL, 100}};
    SAY(preadv(fd, parts, 2, 0));
    SAY(preadv(fd, NULL, 2, 0));
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 2));
    return 0;
}
