/* fork, vfork, posix_spawn and exec: children read what the parent reads, and die alone. */
#include "../zoo.h"
#include <spawn.h>

extern char **environ;

static void child_reads(int fd)
{
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 5));
    int own = make("child.dat", 8, 3);
    CHECK(holds_all(own, 8, 3, 5));
    put(own, BLOCK, BLOCK, 4);
    CHECK(holds(own, BLOCK, BLOCK, 4));
    _exit(40);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    if (argc > 2) {
        int fd = open_warm();
        CHECK(holds_all(fd, WARM_BLOCKS, 0, 3));
        return atoi(argv[2]);
    }
    int fd = open_warm();
    for (int n = 0; n < 5; n++) {
        pid_t child = fork();
        if (child == 0)
            child_reads(fd);
        reap(child, "a forked child");
        CHECK(holds_all(fd, WARM_BLOCKS, 0, 1));
    }
    pid_t shared = vfork();
    if (shared == 0) {
        execl("/proc/self/exe", "fork_kin", zoo_dir, "41", (char *)NULL);
        _exit(99);
    }
    reap(shared, "a vforked child");
    char *words[] = {"fork_kin", zoo_dir, "42", NULL};
    pid_t spawned;
    CHECK(posix_spawn(&spawned, "/proc/self/exe", NULL, NULL, words, environ) == 0);
    reap(spawned, "a spawned child");
    pid_t grand = fork();
    if (grand == 0) {
        pid_t deeper = fork();
        if (deeper == 0)
            child_reads(fd);
        int status;
        CHECK(waitpid(deeper, &status, 0) == deeper && WEXITSTATUS(status) == 40);
        kill(getpid(), SIGKILL);
    }
    reap(grand, "a killed child");
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 3));
    fflush(stdout);
    execl("/proc/self/exe", "fork_kin", zoo_dir, "43", (char *)NULL);
    return 98;
}
