/* preadv and its kin with many parts, no parts, too many parts, and flags. */
#include "../zoo.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int fd = open_warm();
    static unsigned char bytes[WARM_BLOCKS * BLOCK];
    static struct iovec parts[IOV_MAX + 1];
    for (int n = 0; n <= IOV_MAX; n++)
        parts[n] = (struct iovec){bytes + n * 100, 100};
    for (int n = 0; n < 5; n++) {
        memset(bytes, 0, sizeof bytes);
        CHECK(preadv(fd, parts, IOV_MAX, 77) == IOV_MAX * 100);
        CHECK(is(bytes, IOV_MAX * 100, 77, 0));
    }
    SAY(preadv(fd, parts, IOV_MAX + 1, 0));
    SAY(preadv(fd, parts, 0, 0));
    SAY(preadv(fd, parts, -1, 0));
    SAY(preadv(fd, parts, 2, -1));
    SAY(preadv(fd, parts, 2, WARM_BLOCKS * BLOCK - 150));
    parts[0].iov_len = SSIZE_MAX;
    parts[1].iov_len = SSIZE_MAX;
    SAY(preadv(fd, parts, 2, 0));
    parts[0] = (struct iovec){bytes, 0};
    parts[1] = (struct iovec){bytes, BLOCK};
    parts[2] = (struct iovec){NULL, 0};
    CHECK(preadv2(fd, parts, 3, 2 * BLOCK, 0) == BLOCK && is(bytes, BLOCK, 2 * BLOCK, 0));
    CHECK(preadv2(fd, parts, 3, 2 * BLOCK, RWF_NOWAIT) == BLOCK && is(bytes, BLOCK, 2 * BLOCK, 0));
    SAY(preadv2(fd, parts, 3, 0, 0x40000000));
    CHECK(lseek(fd, 5 * BLOCK, SEEK_SET) == 5 * BLOCK);
    CHECK(preadv2(fd, parts, 3, -1, 0) == BLOCK && is(bytes, BLOCK, 5 * BLOCK, 0));
    SAY(lseek(fd, 0, SEEK_CUR));
    CHECK(preadv(fd, parts, 3, 9 * BLOCK) == BLOCK && is(bytes, BLOCK, 9 * BLOCK, 0));
    SAY(lseek(fd, 0, SEEK_CUR));

    int own = make("own.dat", 8, 1);
    CHECK(holds_all(own, 8, 1, 2));
    static unsigned char news[3 * BLOCK];
    fill(news, sizeof news, BLOCK, 2);
    struct iovec out[3] = {{news, 100}, {news + 100, BLOCK}, {news + 100 + BLOCK, 2 * BLOCK - 100}};
    CHECK(pwritev(own, out, 3, BLOCK) == 3 * BLOCK && holds(own, BLOCK, 3 * BLOCK, 2));
    fill(news, sizeof news, BLOCK, 3);
    CHECK(pwritev2(own, out, 3, BLOCK, 0) == 3 * BLOCK && holds(own, BLOCK, 3 * BLOCK, 3));
    fill(news, sizeof news, 8 * BLOCK, 3);
    CHECK(pwritev2(own, out, 3, 0, RWF_APPEND) == 3 * BLOCK && holds(own, 8 * BLOCK, 3 * BLOCK, 3));
    fill(news, sizeof news, 2 * BLOCK, 4);
    CHECK(lseek(own, 2 * BLOCK, SEEK_SET) == 2 * BLOCK && writev(own, out, 3) == 3 * BLOCK);
    CHECK(holds(own, 2 * BLOCK, 3 * BLOCK, 4) && holds(own, BLOCK, BLOCK, 3));
    fill(news, sizeof news, 5 * BLOCK, 5);
    CHECK(write(own, news, BLOCK) == BLOCK && holds(own, 5 * BLOCK, BLOCK, 5));
    return 0;
}
