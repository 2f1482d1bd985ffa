/* Threads with the smallest stack there is, and signal stacks hardly larger, still read. */
#include "../zoo.h"

static int fd;
static volatile sig_atomic_t in_handler;

static void *reader(void *unused)
{
    static unsigned char shared[BLOCK]; /* nothing of ours lies on the tiny stack */
    for (int n = 0; n < 200; n++)
        if (pread(fd, shared, BLOCK, (n % WARM_BLOCKS) * BLOCK) != BLOCK)
            return (void *)1;
    return unused;
}

static void handler(int number)
{
    static unsigned char bytes[BLOCK];
    in_handler += number == SIGUSR1 && pread(fd, bytes, BLOCK, 3 * BLOCK) == BLOCK
        && is(bytes, BLOCK, 3 * BLOCK, 0);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    fd = open_warm();
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0);
    CHECK(pthread_attr_setstacksize(&small, 16384) == 0);
    for (int n = 0; n < 20; n++) {
        pthread_t thread;
        void *answer = (void *)2;
        CHECK(pthread_create(&thread, &small, reader, NULL) == 0);
        CHECK(pthread_join(thread, &answer) == 0 && answer == NULL);
    }
    puts("16 KiB were enough");

    stack_t tiny = {.ss_size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 4096};
    tiny.ss_sp = malloc(tiny.ss_size);
    CHECK(tiny.ss_sp && sigaltstack(&tiny, NULL) == 0);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int n = 0; n < 50; n++)
        raise(SIGUSR1);
    printf("%d reads on the signal stack\n", (int)in_handler);
    return 0;
}
