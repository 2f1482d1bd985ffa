/* seteuid back and forth in one thread while others read and write: never a wrong byte, never a
 * fault, whatever region a call began in. */
#include "../zoo.h"

#define TURNS 60

static int files[2], stop;

/* Reads what never changes. */
static void *read_on(void *unused)
{
    long reads = 0;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED) || reads == 0) {
        CHECK(holds_all(files[0], WARM_BLOCKS, 0, 1));
        reads++;
    }
    return unused;
}

/* Writes a block and reads it back, over and over. */
static void *write_on(void *own)
{
    uint64_t at = (uint64_t)(uintptr_t)own * 8 * BLOCK, version = 1;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED) || version == 1) {
        put(files[1], at, BLOCK, version);
        CHECK(holds(files[1], at, BLOCK, version));
        version = version % 90 + 1;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    files[0] = open_warm();
    files[1] = make("own.dat", 64, 1);
    pthread_t threads[4];
    for (long n = 0; n < 4; n++)
        CHECK(pthread_create(&threads[n], NULL, n < 2 ? read_on : write_on, (void *)n) == 0);
    for (int n = 0; n < TURNS && getuid() == 0; n++) {
        CHECK(seteuid(n % 2 ? 0 : 65534) == 0);
        CHECK(holds(files[0], (uint64_t)(n % WARM_BLOCKS) * BLOCK, BLOCK, 0));
        usleep(3000);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int n = 0; n < 4; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(holds_all(files[0], WARM_BLOCKS, 0, 2));
        put(files[1], 0, BLOCK, 9);
        CHECK(holds(files[1], 0, BLOCK, 9));
        _exit(0);
    }
    reap(child, "a child");
    CHECK(holds(files[1], 0, BLOCK, 9));
    puts("read right under all rights");
    return 0;
}
