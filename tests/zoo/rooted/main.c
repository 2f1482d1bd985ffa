/* chroot (root) or chdir: names change their meaning, open files do not. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    int own = make("own.dat", 8, 1);
    CHECK(holds_all(own, 8, 1, 2));
    CHECK(chdir(zoo_dir) == 0);
    int relative = open("own.dat", O_RDONLY);
    CHECK(relative >= 0 && holds_all(relative, 8, 1, 2));
    if (geteuid() == 0)
        CHECK(chroot(".") == 0 && open("/warm.dat", O_RDONLY) >= 0);
    put(own, BLOCK, BLOCK, 2);
    CHECK(holds(relative, BLOCK, BLOCK, 2) && holds_all(warm, WARM_BLOCKS, 0, 3));
    pid_t child = fork();
    if (child == 0) {
        int inside = open("own.dat", O_RDWR);
        CHECK(inside >= 0 && holds(inside, BLOCK, BLOCK, 2));
        put(inside, BLOCK, BLOCK, 3);
        _exit(0);
    }
    reap(child, "a rooted child");
    CHECK(holds(relative, BLOCK, BLOCK, 3));
    return 0;
}
