/* Daemons close every number they did not open; whatever else lay there must not matter. */
#include "../zoo.h"

static void look(const char *how)
{
    int fd = open_warm();
    int own = make("own.dat", 8, 2);
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 3) && holds_all(own, 8, 2, 2));
    put(own, BLOCK, BLOCK, 3);
    CHECK(holds(own, BLOCK, BLOCK, 3));
    printf("%s: lowest number is %d\n", how, fd);
    close(fd);
    close(own);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    look("close");
    for (int fd = 3; fd < 5000; fd++)
        syscall(SYS_close, fd);
    look("the system call");
    CHECK(close_range(3, ~0u, 0) == 0);
    look("close_range");
    closefrom(3);
    look("closefrom");
    /* Whoever comes to own the numbers later must be left alone, too. */
    for (int n = 0; n < 600; n++)
        CHECK(open("/dev/null", O_RDWR) == 3 + n);
    CHECK(holds_all(open_warm(), WARM_BLOCKS, 0, 3));
    for (int n = 0; n < 600; n++) {
        struct stat now;
        CHECK(fstat(3 + n, &now) == 0 && S_ISCHR(now.st_mode));
    }
    return 0;
}
