/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "os/sandbox.h"
#include "tests/unit/unit.h"

static bool has(cap_flag_t set, cap_value_t cap) {
        cap_t caps = cap_get_proc();
        cap_flag_value_t value = CAP_CLEAR;

        (void) cap_get_flag(caps, cap, set, &value);
        cap_free(caps);
        return value == CAP_SET;
}

/* Exit status of a child that is in the sandbox: the number of the first thing that is wrong. */
static int in_sandbox(void) {
        bool admin = has(CAP_PERMITTED, CAP_SYS_ADMIN);

        if (sandbox_enter(NULL) < 0)
                return 1;
        if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EPERM)
                return 2;
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) >= 0 || errno != EPERM)
                return 3;
        if (mount("none", "/mnt", "tmpfs", 0, NULL) >= 0 || errno != EPERM)
                return 4;
        if (syscall(SYS_init_module, NULL, 0, "") >= 0 || errno != EPERM)
                return 5;
        if (has(CAP_PERMITTED, CAP_NET_ADMIN) || has(CAP_EFFECTIVE, CAP_SYS_PTRACE))
                return 6;
        if (cap_get_bound(CAP_SYS_MODULE) > 0)
                return 7;
        /* what a job needs is still there */
        if (admin && !has(CAP_EFFECTIVE, CAP_SYS_ADMIN))
                return 8;
        if (close(open("/proc/self/status", O_RDONLY)) < 0)
                return 9;
        return sandbox_enter(NULL) < 0 ? 10 : 0;
}

static void what_a_job_does_not_need_is_gone(void **state _unused_) {
        int status = -1;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(in_sandbox());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(what_a_job_does_not_need_is_gone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
