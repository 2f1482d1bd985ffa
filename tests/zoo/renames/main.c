/* rename over, unlink, recreate, inode reuse: a name is not a file. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    for (uint64_t n = 1; n < 25; n++) {
        int old = make("a.dat", 6, n);
        int fresh = make("b.dat", 6, n + 100);
        CHECK(holds_all(old, 6, n, 2) && holds_all(fresh, 6, n + 100, 2));
        char target[PATH_MAX];
        strcpy(target, in_dir("a.dat"));
        CHECK(rename(in_dir("b.dat"), target) == 0);
        int now = open(target, O_RDONLY);
        CHECK(holds_all(now, 6, n + 100, 2) && holds_all(old, 6, n, 2));
        CHECK(unlink(target) == 0);
        CHECK(holds_all(now, 6, n + 100, 2));
        close(old);
        close(fresh);
        close(now);
        /* ext4 hands the freed inode out again at once */
        int reborn = make("c.dat", 6, n + 200);
        CHECK(holds_all(reborn, 6, n + 200, 2));
        close(reborn);
        CHECK(truncate(in_dir("c.dat"), BLOCK) == 0);
        reborn = open(in_dir("c.dat"), O_RDWR);
        CHECK(holds(reborn, 0, BLOCK, n + 200) && !holds(reborn, BLOCK, BLOCK, n + 200));
        close(reborn);
        CHECK(unlink(in_dir("c.dat")) == 0);
    }
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 2));
    char saved[PATH_MAX];
    strcpy(saved, in_dir("warm.dat"));
    CHECK(rename(saved, in_dir("moved.dat")) == 0);
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 2));
    int other = make("warm.dat", 6, 77);
    CHECK(holds_all(other, 6, 77, 2) && holds_all(warm, WARM_BLOCKS, 0, 2));
    puts("every descriptor kept its file");
    return 0;
}
