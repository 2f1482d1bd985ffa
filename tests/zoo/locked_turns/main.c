/* Processes take turns under a record lock; whoever holds it sees the last holder's bytes. */
#include "../zoo.h"

#define TURNS 120

static void locked(int fd, short type)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};
    while (fcntl(fd, F_SETLKW, &range) != 0)
        CHECK(errno == EINTR);
}

static void turns(void)
{
    int fd = open(in_dir("turns.dat"), O_RDWR);
    CHECK(fd >= 0);
    for (int n = 0; n < TURNS; n++) {
        uint64_t count;
        locked(fd, F_WRLCK);
        CHECK(pread(fd, &count, sizeof count, 0) == sizeof count);
        CHECK(holds(fd, BLOCK, 3 * BLOCK, count));
        count++;
        CHECK(pwrite(fd, &count, sizeof count, 0) == sizeof count);
        put(fd, BLOCK, 3 * BLOCK, count);
        CHECK(holds(fd, BLOCK, 3 * BLOCK, count));
        locked(fd, F_UNLCK);
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    int fd = make("turns.dat", 4, 0);
    uint64_t count = 0;
    CHECK(pwrite(fd, &count, sizeof count, 0) == sizeof count);
    pid_t children[5];
    for (int n = 0; n < 5; n++)
        if ((children[n] = fork()) == 0)
            turns();
    for (int n = 0; n < 5; n++)
        reap(children[n], "a taker of turns");
    CHECK(pread(fd, &count, sizeof count, 0) == sizeof count);
    printf("%llu turns\n", (unsigned long long)count);
    return 0;
}
