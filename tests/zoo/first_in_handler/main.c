/* The first read of all happens in a signal handler on a stack hardly larger than the kernel asks
 * for: a process joins its session there. */
#include "../zoo.h"

static int fd;
static volatile sig_atomic_t right;

static void handler(int number)
{
    static unsigned char bytes[BLOCK];
    right += number == SIGUSR1 && pread(fd, bytes, BLOCK, 3 * BLOCK) == BLOCK
        && is(bytes, BLOCK, 3 * BLOCK, 0);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    fd = open(in_dir("warm.dat"), O_RDONLY | O_CLOEXEC); /* open_warm would read it */
    CHECK(fd >= 0);
    stack_t tiny = {.ss_size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 4096};
    /* below it, a page that nobody may touch */
    unsigned char *place = mmap(NULL, 8 * BLOCK, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(place != MAP_FAILED && mprotect(place, BLOCK, PROT_NONE) == 0);
    tiny.ss_sp = place + BLOCK;
    CHECK(tiny.ss_size < 7 * BLOCK && sigaltstack(&tiny, NULL) == 0);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int n = 0; n < 50; n++)
        raise(SIGUSR1);
    printf("%d reads on the signal stack\n", (int)right);
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 2));
    return 0;
}
