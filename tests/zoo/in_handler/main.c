/* pread in a signal handler that interrupts a pread, and a handler that jumps out of it. */
#include "../zoo.h"
#include <setjmp.h>
#include <sys/time.h>

static int fd;
static volatile sig_atomic_t wrong, ran, jumping;
static sigjmp_buf out;

static void handler(int number)
{
    static unsigned char bytes[BLOCK];
    int saved = errno;
    uint64_t at = (uint64_t)(ran % WARM_BLOCKS) * BLOCK;
    if (pread(fd, bytes, BLOCK, (off_t)at) != BLOCK || !is(bytes, BLOCK, at, 0))
        wrong++;
    ran++;
    errno = saved;
    (void)number;
    if (jumping)
        siglongjmp(out, 1);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    fd = open_warm();
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 500}, {0, 500}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    while (ran < 300)
        CHECK(holds_all(fd, WARM_BLOCKS, 0, 1));
    jumping = 1;
    volatile int jumps = 0;
    while (jumps < 300) {
        if (sigsetjmp(out, 1)) {
            jumps++;
            continue;
        }
        static unsigned char bytes[BLOCK];
        for (;;)
            for (int b = 0; b < WARM_BLOCKS; b++)
                CHECK(pread(fd, bytes, BLOCK, b * BLOCK) == BLOCK);
    }
    jumping = 0;
    struct itimerval never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    int own = make("own.dat", 4, 6);
    CHECK(holds_all(own, 4, 6, 3));
    put(own, 0, BLOCK, 7);
    CHECK(holds(own, 0, BLOCK, 7) && holds_all(fd, WARM_BLOCKS, 0, 3));
    printf("%d wrong\n", (int)wrong);
    return wrong != 0;
}
