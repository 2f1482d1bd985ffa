/* A signal handler that forks while its thread is inside a call that changes a file: the call ends
 * twice, once in each process, and only one of them has counted it. */
#include "../zoo.h"

#include <sys/time.h>

static int source[2], file, own[2];
static pid_t child;

static void feed(int to, uint64_t version)
{
    unsigned char bytes[BLOCK];
    fill(bytes, BLOCK, 0, version);
    CHECK(write(to, bytes, BLOCK) == BLOCK);
}

static void forks(int number)
{
    (void)number;
    CHECK(pipe(own) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* Its call goes on from a pipe of its own. */
        feed(own[1], 2);
        CHECK(dup2(own[0], source[0]) == source[0]);
        return;
    }
    reap(child, "the child");
    /* The parent's call is still under way; what is read now must not outlive it. */
    int reader = open(in_dir("f.dat"), O_RDONLY);
    for (int n = 0; n < 40; n++) {
        CHECK(holds(reader, 0, BLOCK, 2));
        usleep(10000);
    }
    close(reader);
    feed(source[1], 3);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    file = make("f.dat", 16, 1);
    CHECK(holds_all(file, 16, 1, 3));
    CHECK(pipe(source) == 0);
    struct sigaction action = {.sa_handler = forks, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval soon = {.it_value = {.tv_usec = 100000}};
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    off_t at = 0;
    ssize_t moved = splice(source[0], NULL, file, &at, BLOCK, 0);
    while (moved < 0 && errno == EINTR)
        moved = splice(source[0], NULL, file, &at, BLOCK, 0);
    CHECK(moved == BLOCK);
    if (child == 0) {
        CHECK(holds(file, 0, BLOCK, 2));
        _exit(0);
    }
    CHECK(holds_all(file, 1, 3, 200));
    CHECK(holds(file, BLOCK, BLOCK, 1));
    printf("moved %zd\n", moved);
    return 0;
}
