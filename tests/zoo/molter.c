/* Writes over its environment, as programs do that set their title, leaves its parent by forking
 * twice, and waits; once GO exists it reads FILE by pread over and over until STOP exists.
 *
 * usage: molter FILE GO STOP PIDFILE zeros|garbage
 * The first process ends as soon as the last one has told its number. Until GO, nothing is read or
 * written that could be served.
 */
#include "zoo.h"

extern char **environ;
static char *nothing[] = {NULL};

static void shed(int letter)
{
    char *first = environ[0], *end = first;
    for (char **entry = environ; *entry; entry++)
        end = *entry + strlen(*entry) + 1;
    environ = nothing;
    memset(first, letter, end - first);
}

/* Ends when `told` has been closed by everybody who could say that it failed. */
static int leave(int told)
{
    char byte;
    return read(told, &byte, 1) == 1 ? 0 : 5;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    char *words[6];
    for (int i = 0; i < argc; i++)
        words[i] = strdup(argv[i]);
    shed(strcmp(words[5], "zeros") == 0 ? 0 : 'x');
    int pipes[2];
    if (pipe(pipes) < 0)
        return 3;
    if (fork() > 0)
        return leave(pipes[0]);
    setsid();
    if (fork() > 0)
        _exit(0);
    /* A symbolic link is no file that could be served. */
    char number[32];
    snprintf(number, sizeof number, "%d", getpid());
    if (symlink(number, words[4]) < 0)
        _exit(4);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0), dup2(null, 1), dup2(null, 2);
    if (write(pipes[1], "", 1) != 1)
        _exit(4);
    close(pipes[0]), close(pipes[1]);
    while (access(words[2], F_OK) != 0)
        usleep(20000);
    int fd = open(words[1], O_RDONLY | O_CLOEXEC);
    static unsigned char bytes[BLOCK];
    do {
        for (off_t at = 0; pread(fd, bytes, sizeof bytes, at) > 0; at += BLOCK)
            ;
        usleep(5000);
    } while (access(words[3], F_OK) != 0);
    return 0;
}
