/* The highest descriptor the limit allows; a table sized by the limit would not fit in memory. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int warm = open_warm();
    int mine = make("mine.dat", 8, 3);
    int top = (int)(limit.rlim_max > 1000000 ? 1000000 : limit.rlim_max) - 1;
    for (int n = 0; n < 3; n++) {
        CHECK(dup2(warm, top) == top && holds_all(top, WARM_BLOCKS, 0, 2));
        CHECK(dup2(mine, top) == top && holds_all(top, 8, 3, 2));
        put(top, BLOCK, BLOCK, 4);
        CHECK(holds(mine, BLOCK, BLOCK, 4));
        put(mine, BLOCK, BLOCK, 3);
        CHECK(holds(top, BLOCK, BLOCK, 3));
        CHECK(close(top) == 0);
    }
    unsigned char byte;
    limit.rlim_cur = 3;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 2));
    SAY(open(in_dir("mine.dat"), O_RDONLY));
    SAY(pread(3 + 900000, &byte, 1, 0));
    return 0;
}
