/* O_DIRECT keeps its alignment rules, and sees what was written either way. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    int direct = open(in_dir("warm.dat"), O_RDONLY | O_DIRECT);
    CHECK(direct >= 0);
    unsigned char *aligned = aligned_alloc(BLOCK, 4 * BLOCK);
    CHECK(aligned);
    for (int n = 0; n < WARM_BLOCKS; n++) {
        CHECK(pread(direct, aligned, BLOCK, n * BLOCK) == BLOCK);
        CHECK(is(aligned, BLOCK, (uint64_t)n * BLOCK, 0));
    }
    SAY(pread(direct, aligned + 1, BLOCK, 0));
    SAY(pread(direct, aligned, 100, 0));
    SAY(pread(direct, aligned, BLOCK, 100));
    SAY(pread(direct, aligned, BLOCK, WARM_BLOCKS * BLOCK));
    int fd = make("direct.dat", 8, 1);
    int writer = open(in_dir("direct.dat"), O_RDWR | O_DIRECT);
    CHECK(writer >= 0);
    for (uint64_t version = 2; version < 20; version++) {
        uint64_t at = (version % 8) * BLOCK;
        fill(aligned, BLOCK, at, version);
        CHECK(pwrite(writer, aligned, BLOCK, (off_t)at) == BLOCK);
        CHECK(holds(fd, at, BLOCK, version));
        put(fd, at, BLOCK, version + 50);
        CHECK(pread(writer, aligned, BLOCK, (off_t)at) == BLOCK);
        CHECK(is(aligned, BLOCK, at, version + 50));
    }
    CHECK(fcntl(writer, F_SETFL, 0) == 0);
    SAY(pread(writer, aligned + 1, 100, 100));
    puts("direct and buffered agree");
    return 0;
}
