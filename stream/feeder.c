/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "os/file.h"
#include "stream/feeder.h"

enum { IN = 3, OUT = 4, OTHERS = 5 };

/* The first byte. */
enum { READ_IT_YOURSELF = '0', HERE_IT_COMES = '1' };

/* Not in linux/magic.h. */
#define XFS_MAGIC UINT32_C(0x58465342)

/* What asks nobody outside of the kernel. Not overlayfs: it may lie over anything. */
static const uint32_t sure[] = {
                BTRFS_SUPER_MAGIC,
                EROFS_SUPER_MAGIC_V1,
                EXFAT_SUPER_MAGIC,
                EXT4_SUPER_MAGIC,
                F2FS_SUPER_MAGIC,
                ISOFS_SUPER_MAGIC,
                MSDOS_SUPER_MAGIC,
                RAMFS_MAGIC,
                SQUASHFS_MAGIC,
                TMPFS_MAGIC,
                UDF_SUPER_MAGIC,
                XFS_MAGIC,
};

static bool is_sure(int fd) {
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(sure); i++)
                if ((uint32_t) fs.f_type == sure[i])
                        return true;
        return false;
}

/* Returns the exit status: an errno. */
static int feed(void) {
        static uint8_t buf[64 * 1024]; /* of this process alone */
        bool sure_of_it = is_sure(IN);

        buf[0] = sure_of_it ? READ_IT_YOURSELF : HERE_IT_COMES;
        if (fd_write_all(OUT, buf, 1) < 0 || sure_of_it)
                return 0;
        for (;;) {
                ssize_t n = read(IN, buf, sizeof(buf));

                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n < 0)
                        return errno;
                if (n == 0 || fd_write_all(OUT, buf, (size_t) n) < 0)
                        return 0;
        }
}

/* After fork() in a process with threads: system calls only. */
static _Noreturn void be_feeder(int fd, int out) {
        int in = fcntl(fd, F_DUPFD, OTHERS);

        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || in < 0 || dup2(out, OUT) < 0 ||
                        dup2(in, IN) < 0)
                _exit(EBADF);
        (void) syscall(SYS_close_range, OTHERS, ~0U, 0);
        _exit(feed());
}

int feeder_start(int fd, Feeder *ret, Err **reterr) {
        _cleanup_(fd_closep) int ours = -1, theirs = -1;
        int ends[2];
        pid_t pid;

        *ret = (Feeder){.fd = -1};
        if (pipe2(ends, O_CLOEXEC) < 0)
                return err_sys(reterr, errno, "make a pipe to read the image");
        ours = ends[0];
        theirs = fcntl(ends[1], F_DUPFD_CLOEXEC, OTHERS);
        close(ends[1]);
        pid = theirs < 0 ? -1 : fork();
        if (pid < 0)
                return err_sys(reterr, errno, "start a process to read the image");
        if (pid == 0)
                be_feeder(fd, theirs);
        *ret = (Feeder){.pid = pid, .fd = MOVE_FD(ours)};
        return 0;
}

int feeder_wanted(Feeder *f, Err **reterr) {
        uint8_t word;
        ssize_t n;

        do
                n = read(f->fd, &word, 1);
        while (n < 0 && errno == EINTR);
        if (n == 1 && word == HERE_IT_COMES)
                return 1;
        if (n == 1 && feeder_result(f) == 0) {
                feeder_done(f);
                return 0;
        }
        return err_new(reterr, EIO, "the process that reads the image has died");
}

int feeder_result(Feeder *f) {
        int status;

        while (waitpid(f->pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        f->pid = 0;
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

void feeder_done(Feeder *f) {
        if (f->pid > 0) {
                kill(f->pid, SIGKILL);
                (void) waitpid(f->pid, NULL, WNOHANG);
        }
        *f = (Feeder){.fd = fd_close(f->fd)};
}
