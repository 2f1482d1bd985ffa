/* One open file description, many holders: dup, fork, SCM_RIGHTS, exec; and one of its own by /proc.
 * Each read takes the next bytes, whoever makes it: none twice, none left out. */
#include "../zoo.h"

static unsigned char bytes[BLOCK];

/* Reads one block at the offset by `fd` and says which it was. */
static int next(int fd)
{
    ssize_t got = read(fd, bytes, BLOCK);
    if (got == 0)
        return -1;
    CHECK(got == BLOCK);
    off_t after = lseek(fd, 0, SEEK_CUR);
    CHECK(after >= BLOCK);
    for (int n = 0; n < WARM_BLOCKS; n++)
        if (is(bytes, BLOCK, (uint64_t)n * BLOCK, 0))
            return n;
    return -2;
}

static int passed(int fd)
{
    int pair[2];
    char space[CMSG_SPACE(sizeof fd)] = {0}, byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
                             .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                             .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    CHECK(sendmsg(pair[0], &message, 0) == 1 && recvmsg(pair[1], &message, 0) == 1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
    return fd;
}

/* Several processes drain one description side by side; every block must be seen once. */
static void drained_by_many(int fd)
{
    enum { MANY = 4 };
    unsigned char *seen = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(seen != MAP_FAILED && lseek(fd, 0, SEEK_SET) == 0);
    pid_t children[MANY];
    for (int n = 0; n < MANY; n++)
        if ((children[n] = fork()) == 0) {
            int block;
            while ((block = next(fd)) >= 0)
                __atomic_fetch_add(&seen[block], 1, __ATOMIC_SEQ_CST);
            _exit(block == -1 ? 0 : 1);
        }
    for (int n = 0; n < MANY; n++)
        reap(children[n], "a drainer");
    for (int n = 0; n < WARM_BLOCKS; n++)
        CHECK(seen[n] == 1);
    puts("every block was read once");
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    if (argc > 2) {
        int fd = atoi(argv[2]);
        int first = next(fd);
        printf("after exec: block %d, then %d\n", first, next(fd));
        return 0;
    }
    int fd = open_warm(), twin = dup(fd), gone = passed(fd);
    CHECK(twin >= 0 && gone >= 0);
    for (int n = 0; n + 2 < WARM_BLOCKS; n += 3) {
        CHECK(holds(fd, 9 * BLOCK, BLOCK, 0));
        CHECK(next(fd) == n && next(twin) == n + 1 && next(gone) == n + 2);
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDONLY | O_CLOEXEC);
    printf("by /proc: block %d, and here still at %lld\n", next(own), (long long)lseek(fd, 0, SEEK_CUR));
    drained_by_many(fd);
    CHECK(lseek(gone, 7 * BLOCK, SEEK_SET) == 7 * BLOCK);
    pid_t child = vfork();
    if (child == 0) {
        CHECK(read(twin, bytes, BLOCK) == BLOCK);
        _exit(0);
    }
    reap(child, "a vfork child");
    printf("then block %d\n", next(fd));
    fflush(stdout);
    char number[16];
    snprintf(number, sizeof number, "%d", twin);
    CHECK(fcntl(twin, F_SETFD, 0) == 0);
    execl("/proc/self/exe", argv[0], argv[1], number, (char *)NULL);
    return 1;
}
