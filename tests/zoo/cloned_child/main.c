/* Children made by clone on a stack of their own, with and without the parent's memory, past fork. */
#include "../zoo.h"
#include <sched.h>

#define STACK (64 * 1024)

static int fd, own;
static unsigned char bytes[BLOCK];
static volatile int right;

static int in_our_memory(void *nth)
{
    int block = (int)(intptr_t)nth;
    ssize_t got = pread(fd, bytes, sizeof bytes, block * BLOCK);
    right += got == BLOCK && is(bytes, BLOCK, (uint64_t)block * BLOCK, 0);
    return 0;
}

static int in_a_copy(void *version)
{
    put(own, 3 * BLOCK, BLOCK, (uint64_t)(intptr_t)version);
    return !(holds(own, 3 * BLOCK, BLOCK, (uint64_t)(intptr_t)version) && holds_all(fd, 16, 0, 1));
}

static void wait_for(pid_t child)
{
    int status;
    CHECK(child > 0 && waitpid(child, &status, __WALL) == child);
    CHECK(status == 0);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    fd = open_warm();
    own = make("own.dat", 16, 1);
    CHECK(holds_all(own, 16, 1, 2));
    char *stack = malloc(STACK);
    CHECK(stack);
    for (int n = 0; n < 20; n++) {
        int flags = CLONE_VM | SIGCHLD | (n % 2 ? CLONE_VFORK : 0) | (n % 4 < 2 ? CLONE_FILES : 0);
        wait_for(clone(in_our_memory, stack + STACK, flags, (void *)(intptr_t)n));
        CHECK(holds(fd, (uint64_t)n * BLOCK, BLOCK, 0));
    }
    printf("%d children on our stack read right\n", right);
    for (int n = 2; n < 12; n++) {
        wait_for(clone(in_a_copy, stack + STACK, SIGCHLD, (void *)(intptr_t)n));
        CHECK(holds(own, 3 * BLOCK, BLOCK, (uint64_t)n));
    }
    for (int n = 12; n < 20; n++) {
        fflush(stdout);
        pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        if (child == 0)
            _exit(in_a_copy((void *)(intptr_t)n));
        wait_for(child);
        CHECK(holds(own, 3 * BLOCK, BLOCK, (uint64_t)n));
    }
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 2));
    puts("and so did those of their own");
    return 0;
}
