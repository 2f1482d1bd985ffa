/* Constructors, atexit handlers and destructors read and write, too. */
#include "../zoo.h"

static int early = -1;

__attribute__((constructor(101))) static void before(int argc, char **argv)
{
    if (argc < 2)
        return;
    snprintf(zoo_dir, sizeof zoo_dir, "%s", argv[1]);
    early = open(in_dir("warm.dat"), O_RDONLY);
    CHECK(early >= 0 && holds_all(early, WARM_BLOCKS, 0, 1));
}

static void at_exit(void)
{
    CHECK(holds_all(early, WARM_BLOCKS, 0, 2));
    puts("at exit");
}

__attribute__((destructor(101))) static void after(void)
{
    if (early < 0)
        return;
    int fd = make("last.dat", 4, 1);
    put(fd, 0, BLOCK, 2);
    CHECK(holds(fd, 0, BLOCK, 2) && holds_all(early, WARM_BLOCKS, 0, 2));
    puts("after main");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    CHECK(holds_all(early, WARM_BLOCKS, 0, 2));
    atexit(at_exit);
    puts("in main");
    return 9;
}
