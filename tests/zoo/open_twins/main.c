/* Every way to open a file keeps flags and mode; O_TMPFILE and mkstemp have no name to know. */
#include "../zoo.h"

static void mode_of(int fd, const char *how)
{
    struct stat now;
    CHECK(fd >= 0 && fstat(fd, &now) == 0);
    printf("%s: mode %o, cloexec %d\n", how, now.st_mode & 07777, fcntl(fd, F_GETFD));
    put(fd, 0, 3 * BLOCK, 1);
    put(fd, BLOCK, BLOCK, 2);
    CHECK(holds(fd, BLOCK, BLOCK, 2));
    close(fd);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    umask(022);
    int directory = open(zoo_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mode_of(open(in_dir("1"), O_RDWR | O_CREAT, 0666), "open");
    mode_of(open64(in_dir("2"), O_RDWR | O_CREAT | O_CLOEXEC, 0640), "open64");
    mode_of(openat(directory, "3", O_RDWR | O_CREAT | O_EXCL, 0600), "openat");
    mode_of(openat64(directory, "4", O_RDWR | O_CREAT, 0755), "openat64");
    mode_of(open(zoo_dir, O_RDWR | O_TMPFILE, 0604), "O_TMPFILE");
    char template[PATH_MAX];
    strcpy(template, in_dir("tmp.XXXXXX"));
    mode_of(mkstemp(template), "mkstemp");
    strcpy(template, in_dir("tmp.XXXXXX"));
    mode_of(mkostemp(template, O_CLOEXEC), "mkostemp");
    strcpy(template, in_dir("tmp.XXXXXX.end"));
    mode_of(mkstemps(template, 4), "mkstemps");
    SAY(open(in_dir("nowhere/x"), O_RDONLY));
    SAY(open(in_dir("3"), O_RDWR | O_CREAT | O_EXCL, 0600));
    SAY(openat(directory, "none", O_RDONLY));
    SAY(creat(in_dir("."), 0600));
    int fd = creat(in_dir("5"), 0611);
    struct stat now;
    CHECK(fstat(fd, &now) == 0);
    printf("creat: mode %o\n", now.st_mode & 07777);
    return 0;
}
