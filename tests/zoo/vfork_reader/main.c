/* A vforked child reads, opens and closes in the memory of its parent. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int fd = open_warm();
    static unsigned char bytes[BLOCK];
    volatile int right = 0;
    for (int n = 0; n < 20; n++) {
        pid_t child = vfork();
        if (child == 0) {
            ssize_t got = pread(fd, bytes, sizeof bytes, n * BLOCK);
            right += got == BLOCK && is(bytes, BLOCK, (uint64_t)n * BLOCK, 0);
            close(fd); /* the child's number, not the parent's */
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        CHECK(holds(fd, (uint64_t)n * BLOCK, BLOCK, 0));
    }
    printf("%d children read right\n", right);
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 2));
    return 0;
}
