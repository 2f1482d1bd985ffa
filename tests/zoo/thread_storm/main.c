/* Many threads come and go, reading one file and rewriting another under a lock of their own. */
#include "../zoo.h"

#define THREADS 24
#define BLOCKS 32

static int warm, mine;
static pthread_rwlock_t locks[BLOCKS];
static uint64_t versions[BLOCKS];
static int wrong;

static void *life(void *seed)
{
    unsigned dice = (unsigned)(uintptr_t)seed;
    for (int n = 0; n < 150; n++) {
        int b = rand_r(&dice) % BLOCKS;
        uint64_t at = (uint64_t)b * BLOCK;
        if (n % 5 == 0) {
            pthread_rwlock_wrlock(&locks[b]);
            put(mine, at, BLOCK, ++versions[b]);
            pthread_rwlock_unlock(&locks[b]);
        }
        pthread_rwlock_rdlock(&locks[b]);
        if (!holds(mine, at, BLOCK, versions[b]))
            __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        pthread_rwlock_unlock(&locks[b]);
        if (!holds(warm, at, BLOCK, 0))
            __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    warm = open_warm();
    mine = make("mine.dat", BLOCKS, 0);
    for (int b = 0; b < BLOCKS; b++)
        CHECK(pthread_rwlock_init(&locks[b], NULL) == 0);
    for (int wave = 0; wave < 4; wave++) {
        pthread_t threads[THREADS];
        for (int n = 0; n < THREADS; n++)
            CHECK(pthread_create(&threads[n], NULL, life, (void *)(uintptr_t)(wave * 100 + n)) == 0);
        for (int n = 0; n < THREADS; n++)
            CHECK(pthread_join(threads[n], NULL) == 0);
    }
    printf("%d wrong\n", wrong);
    return wrong != 0;
}
