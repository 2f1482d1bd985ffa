/* The program brings its own malloc, which reads a file the first time, and is never called back
 * from a call it makes itself. */
#include "../zoo.h"

#define ARENA (8 << 20)

static _Alignas(16) unsigned char arena[ARENA];
static size_t used;
static int is_inside, is_ready, was_called_back;
static unsigned char scratch[BLOCK];

static void begin(void)
{
    if (is_inside) {
        was_called_back = 1;
        return;
    }
    is_inside = 1;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && pread(fd, scratch, sizeof scratch, 0) > 0 && !is_ready)
        is_ready = 1;
    void *page = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED)
        munmap(page, BLOCK);
    close(fd);
    is_inside = 0;
}

void *malloc(size_t size)
{
    if (!is_ready || used % 7 == 0)
        begin();
    size_t at = __atomic_fetch_add(&used, (size + 31) & ~(size_t)15, __ATOMIC_SEQ_CST);
    if (at + size + 16 > ARENA) {
        errno = ENOMEM;
        return NULL;
    }
    *(size_t *)(void *)(arena + at) = size;
    return arena + at + 16;
}

void free(void *old)
{
    (void)old;
}

void *calloc(size_t count, size_t size)
{
    return malloc(count * size); /* the arena starts out zeroed and is used once */
}

void *realloc(void *old, size_t size)
{
    void *new = malloc(size);
    if (old && new) {
        size_t had = *(size_t *)(void *)((unsigned char *)old - 16);
        memcpy(new, old, had < size ? had : size);
    }
    return new;
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int fd = open_warm();
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 2));
    int own = make("own.dat", 16, 1);
    for (uint64_t version = 2; version < 12; version++) {
        put(own, version * BLOCK, BLOCK, version);
        CHECK(holds(own, version * BLOCK, BLOCK, version));
    }
    printf("ready %d, called back %d\n", is_ready, was_called_back);
    return 0;
}
