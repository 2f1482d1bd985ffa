/* exec with an environment rebuilt from nothing, as sudo, cron and nginx do. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int round = argc > 2 ? atoi(argv[2]) : 0;
    int fd = open_warm();
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 3));
    printf("round %d: HOME is %s\n", round, getenv("HOME") ? getenv("HOME") : "unset");
    fflush(stdout);
    if (round == 3)
        return 7;
    char next[8];
    snprintf(next, sizeof next, "%d", round + 1);
    char *words[] = {"bare_environment", zoo_dir, next, NULL};
    char *none[] = {NULL};
    char *small[] = {"HOME=/nowhere", NULL};
    if (round == 0)
        execve("/proc/self/exe", words, none);
    if (round == 1)
        execve("/proc/self/exe", words, small);
    clearenv();
    execv("/proc/self/exe", words);
    return 99;
}
