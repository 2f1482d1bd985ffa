/* dup, dup2, dup3, F_DUPFD, close_range, closefrom: a number changes its file in many ways. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    unsigned char bytes[16];
    int warm = open_warm();
    int mine = make("mine.dat", 16, 9);

    int twin = dup(warm);
    CHECK(holds_all(twin, WARM_BLOCKS, 0, 2));
    CHECK(dup2(mine, twin) == twin);
    CHECK(holds_all(twin, 16, 9, 2));
    CHECK(dup3(warm, twin, O_CLOEXEC) == twin);
    CHECK(holds_all(twin, WARM_BLOCKS, 0, 2));
    int high = fcntl(mine, F_DUPFD, 700);
    CHECK(high >= 700 && holds_all(high, 16, 9, 2));
    put(mine, 3 * BLOCK, BLOCK, 10);
    CHECK(holds(high, 3 * BLOCK, BLOCK, 10));
    put(high, 3 * BLOCK, BLOCK, 11);
    CHECK(holds(mine, 3 * BLOCK, BLOCK, 11));
    SAY(dup2(warm, warm) == warm);
    SAY(dup2(999, warm));
    SAY(dup3(warm, warm, 0));

    CHECK(close_range((unsigned)high, (unsigned)high, 0) == 0);
    SAY(pread(high, bytes, sizeof bytes, 0) );
    CHECK(close_range((unsigned)warm, (unsigned)warm, CLOSE_RANGE_CLOEXEC) == 0);
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 1));
    closefrom(warm);
    for (int fd = warm; fd < warm + 4; fd++)
        SAY(pread(fd, bytes, sizeof bytes, 0));
    int again = open(in_dir("mine.dat"), O_RDONLY);
    CHECK(again == warm && holds(again, 0, BLOCK, 9));
    return 0;
}
