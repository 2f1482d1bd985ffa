/* Descriptors that arrive over a socket (SCM_RIGHTS), by open on /proc, or by pidfd_getfd. */
#include "../zoo.h"

static void send_fd(int over, int fd)
{
    char space[CMSG_SPACE(sizeof fd)] = {0}, byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
                             .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    CHECK(sendmsg(over, &message, 0) == 1);
}

static int receive_fd(int over)
{
    char space[CMSG_SPACE(sizeof(int))], byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
                             .msg_controllen = sizeof space};
    CHECK(recvmsg(over, &message, 0) == 1);
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm(), pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    pid_t child = fork();
    if (child == 0) {
        int given = receive_fd(pair[1]);
        CHECK(holds_all(given, WARM_BLOCKS, 0, 3));
        int own = make("own.dat", 8, 4);
        send_fd(pair[1], own);
        char go;
        CHECK(read(pair[1], &go, 1) == 1);
        put(own, BLOCK, BLOCK, 5);
        _exit(0);
    }
    send_fd(pair[0], warm);
    int got = receive_fd(pair[0]);
    CHECK(holds_all(got, 8, 4, 3));
    CHECK(write(pair[0], "g", 1) == 1);
    reap(child, "the sender");
    CHECK(holds(got, BLOCK, BLOCK, 5));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", got);
    int through = open(path, O_RDONLY);
    CHECK(through >= 0 && holds(through, BLOCK, BLOCK, 5));
    put(got, BLOCK, BLOCK, 6);
    CHECK(holds(through, BLOCK, BLOCK, 6));
    puts("borrowed numbers read right");
    return 0;
}
