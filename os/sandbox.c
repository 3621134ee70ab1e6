/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sched.h>
#include <seccomp.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "os/sandbox.h"

/* For files of every owner and kind, and for the ioctls of Btrfs and the detached mount. */
static const cap_value_t kept[] = {
                CAP_CHOWN,
                CAP_DAC_OVERRIDE,
                CAP_DAC_READ_SEARCH,
                CAP_FOWNER,
                CAP_FSETID,
                CAP_LINUX_IMMUTABLE,
                CAP_MAC_ADMIN, /* labels that the policy loaded now does not know */
                CAP_MKNOD,
                CAP_SETFCAP,
                CAP_SYS_ADMIN,
};

/* Not a list of all that is harmless, which differs between C libraries, but of all that is not. */
static const char *const refused_calls[] = {
                "_sysctl",
                "accept",
                "accept4",
                "acct",
                "add_key",
                "adjtimex",
                "bind",
                "bpf",
                "chroot",
                "clock_adjtime",
                "clock_settime",
                "connect",
                "create_module",
                "delete_module",
                "finit_module",
                "init_module",
                "io_uring_enter",
                "io_uring_register",
                "io_uring_setup",
                "ioperm",
                "iopl",
                "kcmp",
                "kexec_file_load",
                "kexec_load",
                "keyctl",
                "listen",
                "lookup_dcookie",
                "mount",
                "mount_setattr",
                "move_mount",
                "name_to_handle_at",
                "nfsservctl",
                "open_by_handle_at",
                "open_tree",
                "perf_event_open",
                "pidfd_getfd",
                "pivot_root",
                "process_vm_readv",
                "process_vm_writev",
                "ptrace",
                "quotactl",
                "quotactl_fd",
                "reboot",
                "request_key",
                "setdomainname",
                "sethostname",
                "setns",
                "settimeofday",
                "socket",
                "stime",
                "swapoff",
                "swapon",
                "syslog",
                "umount",
                "umount2",
                "unshare",
                "uselib",
                "userfaultfd",
                "vhangup",
                "vm86",
                "vm86old",
};

static cap_t caps_free(cap_t c) {
        if (c)
                cap_free(c);
        return NULL;
}

static void caps_freep(cap_t *c) {
        *c = caps_free(*c);
}

static void filter_freep(scmp_filter_ctx *f) {
        if (*f)
                seccomp_release(*f);
}

static bool is_kept(cap_value_t cap) {
        for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
                if (kept[i] == cap)
                        return true;
        return false;
}

static int drop_capabilities(Err **reterr) {
        _cleanup_(caps_freep) cap_t now = cap_get_proc(), next = cap_init();
        int r = now && next ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(kept); i++) {
                cap_flag_value_t have = CAP_CLEAR;

                /* what was taken from us already cannot be asked for */
                if (cap_get_flag(now, kept[i], CAP_PERMITTED, &have) < 0 || have != CAP_SET)
                        continue;
                if (cap_set_flag(next, CAP_PERMITTED, 1, &kept[i], CAP_SET) < 0 ||
                                cap_set_flag(next, CAP_EFFECTIVE, 1, &kept[i], CAP_SET) < 0)
                        r = -errno;
        }
        for (cap_value_t cap = 0; r >= 0 && cap_get_bound(cap) >= 0; cap++)
                if (!is_kept(cap) && cap_drop_bound(cap) < 0 && errno != EPERM)
                        r = -errno;
        if (r >= 0 && cap_set_proc(next) < 0)
                r = -errno;
        return r < 0 ? err_sys(reterr, r, "give up capabilities") : 0;
}

static int refuse_calls(Err **reterr) {
        _cleanup_(filter_freep) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int r = filter ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(refused_calls); i++) {
                int number = seccomp_syscall_resolve_name(refused_calls[i]);

                if (number != __NR_SCMP_ERROR)
                        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
                /* -EDOM: not of this architecture */
                if (r == -EDOM)
                        r = 0;
        }
        if (r >= 0)
                r = seccomp_load(filter);
        return r < 0 ? err_sys(reterr, r, "give up system calls") : 0;
}

int sandbox_enter(Err **reterr) {
        int r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return err_sys(reterr, errno, "give up new privileges");
        if (unshare(CLONE_NEWNS) >= 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
                return err_sys(reterr, errno, "leave the mount namespace");
        r = drop_capabilities(reterr);
        return r < 0 ? r : refuse_calls(reterr);
}
