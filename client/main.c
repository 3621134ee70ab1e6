/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/main.c - abctl: the table of verbs, from which the help is printed too. */
#include "client/cli.h"
#include "client/offline.h"
#include "client/options.h"
#include "client/verbs.h"

#define OPT_REBOOT   OPT(0, "reboot", reboot, "Reboot at once where that is what is left to do")
#define OPT_EXIT     OPT(0, "exit-code", exit_code, "Exit with 4 where a reboot is needed")
#define OPT_DETACH   OPT(0, "detach", detach, "Start the job and leave it alone")
#define OPT_PROGRESS OPT_ARG(0, "progress", progress, "MODE", "auto, bar, lines, json or none")
#define OPT_REASON   OPT_ARG(0, "reason", reason, "TEXT", "Why, for status and history")

static const Option global_options[] = {
                OPT('h', "help", help, "Show this help, or that of a verb"),
                OPT(0, "version", version, "Show the version of abctl"),
                OPT_ARG(0, "json", json, "MODE", "Print JSON: short, pretty or off"),
                OPT('j', NULL, json_auto, "Print JSON: pretty on a terminal, else short"),
                OPT_ARG('H', "host", host, "[USER@]HOST", "Talk to another machine, over ssh"),
                OPT(0, "offline", offline, "Do without daemon and bus: run the job from here"),
                OPT_ARG(0, "root", root, "DIR",
                                "The machine is what is below DIR; implies --offline"),
                OPT('q', "quiet", quiet, "Print errors only"),
                OPT(0, "no-pager", no_pager, "Do not page long output"),
                OPT(0, "no-ask-password", no_ask_password, "Never ask for a password"),
                {0},
};

static const Option status_options[] = {OPT_EXIT, {0}};
static const Option job_options[] = {OPT_PROGRESS, {0}};
static const Option reboot_options[] = {OPT_REBOOT, OPT_EXIT, OPT_PROGRESS, {0}};
static const Option mark_options[] = {OPT_REASON, OPT_PROGRESS, {0}};
static const Option begin_options[] = {
                OPT(0, "in-place", in_place, "Change the running system; the way back is kept"),
                OPT_PROGRESS,
                {0},
};
static const Option run_options[] = {
                OPT(0, "in-place", in_place, "Change the running system; the way back is kept"),
                OPT_REBOOT,
                OPT_EXIT,
                OPT_PROGRESS,
                {0},
};
static const Option history_options[] = {
                OPT_ARG('n', "lines", lines, "N", "At most the last N events (50)"),
                {0},
};
static const Option update_options[] = {
                OPT(0, "dry-run", dry_run, "Show the steps and sizes, change nothing"),
                OPT(0, "no-arm", no_arm, "Write the new slot, but do not boot it next"),
                OPT_REBOOT,
                OPT_DETACH,
                OPT_ARG(0, "accept", accept, "VERSION",
                                "Install VERSION although it was rolled back or condemned"),
                OPT(0, "allow-downgrade", allow_downgrade,
                                "Install although a newer version has proven itself"),
                OPT_ARG(0, "manifest", manifest, "FILE|URL",
                                "Who signed the image (IMAGE.manifest)"),
                OPT(0, "persist", persist, "Go on with it at the next starts, until it is done"),
                OPT(0, "continue", go_on, "Go on with what --persist asked for, now"),
                OPT(0, "forget", forget, "Do not go on with what --persist asked for"),
                OPT(0, "reinstall", reinstall, "Install although this version is here"),
                OPT_ARG(0, "as", as, "VERSION", "Name the version where the image does not"),
                OPT_ARG(0, "retries", retries, "N", "Continue a broken download N times (5)"),
                OPT_EXIT,
                OPT_PROGRESS,
                {0},
};

static const Option check_options[] = {
                OPT(0, "repair", repair,
                                "Put right what needs nobody's decision, and tell what is left"),
                {0},
};
static const Option merge_options[] = {
                OPT(0, "scheduled", scheduled, "Only where it is time, as MergeAfter= says"),
                OPT_PROGRESS,
                {0},
};
static const Option device_options[] = {
                OPT_ARG('o', "output", output, "FILE",
                                "Where an export goes; '-': standard output"),
                OPT_ARG(0, "compress", compress, "WORD", "zstd or none (none)"),
                OPT_ARG(0, "sha256", sha256, "DIGITS",
                                "What is restored must have it (FILE.sha256)"),
                OPT_ARG(0, "accept", accept, "VERSION",
                                "Restore VERSION although it was rolled back or condemned"),
                OPT_PROGRESS,
                {0},
};

static const Verb verbs[] = {
                {"Look", "status", "", "Show the machine: slots, next boot, problems", 0, 0,
                                status_options, verb_status, offline_status},
                {NULL, "list", "", "List the slots", 0, 0, NULL, verb_list, offline_list},
                {NULL, "jobs", "", "List the running jobs", 0, 0, NULL, verb_jobs, NULL},
                {NULL, "history", "", "Show what was done, and how it ended", 0, 0, history_options,
                                verb_history, offline_history},
                {NULL, "monitor", "", "Follow what happens until Ctrl-C", 0, 0, NULL, verb_monitor,
                                NULL},
                {NULL, "check", "", "Look for problems, and say what to do about them", 0, 0,
                                check_options, verb_check, offline_check},
                {"Update", "update", "IMAGE|-|URL", "Install an image as a new slot, boot it next",
                                0, 1, update_options, verb_update, offline_update},
                {NULL, "rollback", "[SLOT]", "Go back to the last good slot, or to SLOT", 0, 1,
                                reboot_options, verb_rollback, offline_rollback},
                {NULL, "mark", "good|bad [SLOT]", "Give the verdict on the booted slot, or on SLOT",
                                1, 2, mark_options, verb_mark, offline_mark},
                {NULL, "cancel", "[JOB]", "Stop the running job", 0, 1, NULL, verb_cancel, NULL},
                {NULL, "pause", "[JOB]", "Let a merge wait", 0, 1, NULL, verb_pause, NULL},
                {NULL, "resume", "[JOB]", "Let it go on", 0, 1, NULL, verb_resume, NULL},
                {"Slots", "prune", "", "Delete old slots, as the configuration says", 0, 0,
                                job_options, verb_prune, offline_prune},
                {NULL, "merge", "", "Let the booted slot need no other device", 0, 0, merge_options,
                                verb_merge, offline_merge},
                {NULL, "discard", "SLOT...", "Delete slots", 1, -1, job_options, verb_discard,
                                offline_discard},
                {NULL, "device", "export|restore ...",
                                "Copy the device of a slot to a file, or back: 'export SLOT "
                                "-o FILE', 'restore FILE SLOT'",
                                2, 3, device_options, verb_device, offline_device},
                {NULL, "pin", "SLOT...", "Keep slots whatever their age", 1, -1, job_options,
                                verb_pin, offline_pin},
                {NULL, "unpin", "SLOT...", "Let slots grow old again", 1, -1, job_options,
                                verb_unpin, offline_unpin},
                {"Transactions", "run", "-- COMMAND...",
                                "Begin, run a command, commit; abort where it fails", 1, -1,
                                run_options, verb_run, NULL},
                {NULL, "begin", "", "Open a new slot for a package manager", 0, 0, begin_options,
                                verb_begin, offline_begin},
                {NULL, "commit", "[TRANSACTION]", "Close it, and boot it next", 0, 1,
                                reboot_options, verb_commit, offline_commit},
                {NULL, "abort", "[TRANSACTION]", "Drop it", 0, 1, job_options, verb_abort,
                                offline_abort},
                {"Images", "image", "VERB [FILE]", "Make, sign, show and check images",
                                .program = "abctl-image"},
                {0},
};

int main(int argc, char *argv[]) {
        return cli_main(
                        &(Cli){
                                        .name = "abctl",
                                        .about = "Update this machine, and go back where an update "
                                                 "does not hold.\n"
                                                 "Without a verb, show the status.",
                                        .verbs = verbs,
                                        .options = global_options,
                                        .usual = "status",
                        },
                        argc, argv);
}
