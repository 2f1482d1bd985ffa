/* setgroups, setgid, setuid after reading: what was open goes on, what is forbidden stays so. */
#include "../zoo.h"
#include <grp.h>

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    int secret = make("secret.dat", 8, 1);
    CHECK(fchmod(secret, 0600) == 0 && holds_all(secret, 8, 1, 3));
    if (geteuid() == 0) {
        CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
        CHECK(open(in_dir("secret.dat"), O_RDONLY) == -1 && errno == EACCES);
    }
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 3) && holds_all(secret, 8, 1, 3));
    put(secret, BLOCK, BLOCK, 2);
    CHECK(holds(secret, BLOCK, BLOCK, 2));
    int again = open_warm();
    CHECK(holds_all(again, WARM_BLOCKS, 0, 3));
    pid_t child = fork();
    if (child == 0) {
        CHECK(holds_all(again, WARM_BLOCKS, 0, 3));
        put(secret, 2 * BLOCK, BLOCK, 3);
        _exit(0);
    }
    reap(child, "a child without rights");
    CHECK(holds(secret, 2 * BLOCK, BLOCK, 3));
    puts("read right with fewer rights");
    return 0;
}
