/* No descriptor is left: as many can be opened as without, the error is the same, reads stay right. */
#include "../zoo.h"

#define LIMIT 80

static int taken[LIMIT], count;

static void take_all(void)
{
    while ((taken[count] = open(in_dir("warm.dat"), O_RDONLY | O_CLOEXEC)) >= 0)
        count++;
    printf("the next open: errno %d\n", errno);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    int own = make("own.dat", 16, 1);
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 5) && holds_all(own, 16, 1, 2));
    struct rlimit few = {LIMIT, LIMIT};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    take_all();
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 5));
    for (int n = 0; n < count; n++)
        CHECK(holds(taken[n], (uint64_t)(n % WARM_BLOCKS) * BLOCK, BLOCK, 0));
    for (uint64_t version = 2; version < 20; version++) {
        put(own, (version % 16) * BLOCK, BLOCK, version);
        CHECK(holds(own, (version % 16) * BLOCK, BLOCK, version));
    }
    /* A child that has never joined, and finds no number to join with. */
    pid_t child = fork();
    if (child == 0) {
        CHECK(holds_all(warm, WARM_BLOCKS, 0, 3));
        put(own, 0, BLOCK, 30);
        _exit(0);
    }
    reap(child, "a child without descriptors");
    CHECK(holds(own, 0, BLOCK, 30));
    int before = count;
    while (count > 0)
        CHECK(close(taken[--count]) == 0);
    take_all();
    CHECK(count == before);
    printf("%d descriptors\n", count);
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 2));
    return 0;
}
