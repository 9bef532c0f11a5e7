/* Lets a program believe that the machine was suspended: the wall clock and the boot-time clock are ahead by the seconds
 * that the file named by SUSPENDED_SECONDS holds, the monotonic clock is not. Preloaded; libfaketime moves the boot-time
 * clock together with the monotonic one, or neither. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long suspended(void)
{
    const char *path = getenv("SUSPENDED_SECONDS");
    char text[32] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? strtol(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int done = (int)syscall(SYS_clock_gettime, clock, now);
#ifdef BOOT_TIME_ALONE
    int moved = clock == CLOCK_BOOTTIME;
#else
    int moved = clock == CLOCK_BOOTTIME || clock == CLOCK_REALTIME;
#endif
    if (done == 0 && moved)
        now->tv_sec += suspended();
    return done;
}
