/* Stores through shared mappings are seen by pread at once, however the mapping came to be. */
#include "../zoo.h"

static unsigned char *map(int fd, int protection)
{
    unsigned char *at = mmap(NULL, 8 * BLOCK, protection, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void store_and_look(unsigned char *at, int fd, uint64_t from)
{
    for (uint64_t version = from; version < from + 30; version++) {
        fill(at + 2 * BLOCK, BLOCK, 2 * BLOCK, version);
        CHECK(holds(fd, 2 * BLOCK, BLOCK, version));
        CHECK(holds(fd, 2 * BLOCK, BLOCK, version));
    }
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    unsigned char *still = mmap(NULL, WARM_BLOCKS * BLOCK, PROT_READ, MAP_SHARED, warm, 0);
    CHECK(still != MAP_FAILED && is(still, WARM_BLOCKS * BLOCK, 0, 0));
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 2));
    puts("read-only mapping and pread agree");

    int fd = make("map.dat", 8, 1);
    int reader = open(in_dir("map.dat"), O_RDONLY);
    CHECK(holds_all(reader, 8, 1, 3));
    unsigned char *at = map(fd, PROT_READ | PROT_WRITE);
    store_and_look(at, reader, 10);
    puts("stores are seen while mapped");
    pid_t child = fork();
    if (child == 0) {
        store_and_look(at, reader, 50);
        _exit(0);
    }
    reap(child, "the child that inherited the mapping");
    CHECK(holds(reader, 2 * BLOCK, BLOCK, 79));
    CHECK(munmap(at, 8 * BLOCK) == 0);
    CHECK(holds(reader, 2 * BLOCK, BLOCK, 79) && holds(reader, BLOCK, BLOCK, 1));
    put(fd, 2 * BLOCK, BLOCK, 80);
    CHECK(holds(reader, 2 * BLOCK, BLOCK, 80));

    at = map(fd, PROT_READ);
    CHECK(holds_all(reader, 2, 1, 2));
    CHECK(mprotect(at, 8 * BLOCK, PROT_READ | PROT_WRITE) == 0);
    store_and_look(at, reader, 100);
    puts("stores are seen after mprotect");
    at = mremap(at, 8 * BLOCK, 16 * BLOCK, MREMAP_MAYMOVE);
    CHECK(at != MAP_FAILED);
    store_and_look(at, reader, 150);
    close(fd);
    store_and_look(at, reader, 200);
    CHECK(munmap(at, 16 * BLOCK) == 0);

    unsigned char *mine = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0);
    CHECK(mine != MAP_FAILED);
    mine[0] ^= 0xFF;
    CHECK(holds(reader, 0, BLOCK, 1));
    puts("a private store is nobody else's");
    return 0;
}
